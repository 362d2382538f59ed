"""Transcripts of any source, with ids that can be compared."""

import json

import pytest

from speechx.corpora.transcripts import read_pair
from speechx.errors import UserError
from speechx.transcription.result import Segment, Transcript, Word

TEXTS = {"u1": "the cat sat", "u2": "hello world", "u3": "ça va"}


def kaldi(texts):
    return "".join(f"{id} {text}\n" for id, text in texts.items())


def write_ctm(texts):
    return "".join(
        f"{id} 1 {n}.0 0.5 {word} 0.9\n"
        for id, text in texts.items()
        for n, word in enumerate(text.split())
    )


WRITERS = {
    "hyp.txt": kaldi,
    "hyp": lambda texts: kaldi(texts).replace(" ", "\t", 1),
    "hyp.jsonl": lambda texts: "".join(
        json.dumps({"id": id, "pred_text": text, "text": "not this"}) + "\n"
        for id, text in texts.items()
    ),
    "nemo.json": lambda texts: "".join(
        json.dumps({"audio_filepath": f"a/{id}.wav", "text": text}) + "\n"
        for id, text in texts.items()
    ),
    "by_id.json": json.dumps,
    "hyp.csv": lambda texts: "utt_id,text\n" + "".join(f'{i},"{t}"\n' for i, t in texts.items()),
    "hyp.tsv": lambda texts: "id\ttext\n" + "".join(f"{i}\t{t}\n" for i, t in texts.items()),
    "bare.tsv": lambda texts: "".join(f"{i}\t{t}\n" for i, t in texts.items()),
    "hyp.trn": lambda texts: "".join(f"{t} ({i})\n" for i, t in texts.items()),
    "hyp.ctm": write_ctm,
    "hyp.stm": lambda texts: ";; c\n" + "".join(f"{i} A s 0 1 <o> {t}\n" for i, t in texts.items()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_format_gives_texts_by_id(name, tmp_path):
    (tmp_path / "ref.txt").write_text(kaldi(TEXTS))
    (tmp_path / name).write_text(WRITERS[name](TEXTS))
    references, found = read_pair(tmp_path / "ref.txt", tmp_path / name)
    assert {said.id: said.text for said in references} == TEXTS
    assert {said.id: said.text for said in found} == TEXTS


def test_a_folder_of_results(tmp_path):
    (tmp_path / "ref.txt").write_text(kaldi(TEXTS))
    for id, text in TEXTS.items():
        result = {"text": text, "segments": [{"text": text, "words": []}], "audio": f"x/{id}.wav"}
        (tmp_path / "json" / "deep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "txt").mkdir(exist_ok=True)
        (tmp_path / "json" / f"{id}.json").write_text(json.dumps(result))
        (tmp_path / "txt" / f"{id}.txt").write_text(text + "\n")
    for folder in ("json", "txt"):
        _, found = read_pair(tmp_path / "ref.txt", tmp_path / folder)
        assert {said.id: said.text for said in found} == TEXTS


def spoken(text):
    """A transcript with words, as `speechx transcribe` makes it."""
    words = tuple(Word(word, n, n + 0.5, 1.0) for n, word in enumerate(text.split()))
    segments = (Segment(text, 0.0, 4.0, words),) if text else ()
    return Transcript(text, segments, "characters", 4.0, 4.0, "m")


@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".TextGrid"])
def test_a_folder_of_subtitles_or_textgrids_has_the_text_of_our_results(suffix, tmp_path):
    texts = {**TEXTS, "u3": 'a "quoted" & ça', "deep.er/u4.b": ""}
    for id, text in texts.items():
        (tmp_path / "hyp" / id).parent.mkdir(parents=True, exist_ok=True)
        spoken(text).save(tmp_path / "hyp" / f"{id}{suffix}")
    (tmp_path / "ref.jsonl").write_text(
        "".join(json.dumps({"id": id, "text": text}) + "\n" for id, text in texts.items())
    )
    references, found = read_pair(tmp_path / "ref.jsonl", tmp_path / "hyp")
    assert {said.id: said.text for said in found} == texts
    assert {said.id: said.text for said in references} == texts


def test_one_recording_is_compared_with_one_whatever_the_files_are_called(tmp_path):
    spoken("the cat").save(tmp_path / "my.talk.srt")
    spoken("the rat").save(tmp_path / "hyp.TextGrid")
    (tmp_path / "ref.txt").write_text("The\ncat.\n")
    for reference, text in (("my.talk.srt", "the cat"), ("ref.txt", "The cat.")):
        (wanted,), (found,) = read_pair(tmp_path / reference, tmp_path / "hyp.TextGrid")
        assert (wanted.text, found.text) == (text, "the rat")
        assert wanted.id == found.id
    (tmp_path / "kaldi.txt").write_text("my.talk the cat\nother the dog\n")
    references, (found,) = read_pair(tmp_path / "kaldi.txt", tmp_path / "my.talk.srt")
    assert [said.id for said in references] == ["my.talk", "other"]
    assert found.id == "my.talk"


def test_subtitles_of_other_programs(tmp_path):
    (tmp_path / "a.vtt").write_text(
        "\ufeffWEBVTT - talk\r\n\r\nNOTE two\r\n\r\nSTYLE\r\n::cue { color: red }\r\n\r\n"
        "00:02.000 --> 00:03.000 align:start\r\nthere\r\n\r\n"
        "00:01.000 --> 00:02.000\r\n<v Ann>Hi &amp; <00:00:01.500><c.red>you</c></v>\r\n",
        encoding="utf-8",
    )
    (tmp_path / "b.srt").write_text(
        "1\n00:00:01,000 --> 00:00:02,000\n<i>Hi</i> &\n{\\an8}you\n\n"
        "2\n00:00:02,000 --> 00:00:03,000\nthere\n",
        encoding="utf-16",
    )
    (wanted,), (found,) = read_pair(tmp_path / "a.vtt", tmp_path / "b.srt")
    assert wanted.text == found.text == "Hi & you there"


def grid(**tiers):
    """A short TextGrid."""
    lines = ['File type = "ooTextFile short"', '"TextGrid"', "", "0", "2", "<exists>"]
    lines.append(str(len(tiers)))
    for name, labels in tiers.items():
        lines += ['"IntervalTier"', f'"{name}"', "0", "2", str(len(labels))]
        for n, label in enumerate(labels):
            lines += [str(2 * n / len(labels)), str(2 * (n + 1) / len(labels)), f'"{label}"']
    return "\n".join(lines) + "\n"


def test_tiers_of_a_textgrid_are_known_by_their_names(tmp_path):
    def said(**tiers):
        (tmp_path / "a.TextGrid").write_text(grid(**tiers), encoding="utf-8")
        (found,), _ = read_pair(tmp_path / "a.TextGrid", tmp_path / "a.TextGrid")
        return found.text, found.phones

    phones = ("h", "aʊ", "s")
    assert said(words=["", "house"], phones=[*phones, ""]) == ("house", phones)
    assert said(**{"Ann - words": ["house"], "Ann - phones": phones}) == ("house", phones)
    assert said(phones=phones) == (None, phones)
    assert said(dipl=["a", "house"]) == ("a house", None)
    assert said(words=["a", "b"], utterance=["a b"], comment=["?"]) == ("a b", None)
    for tiers, why in (
        ({"A - words": ["a"], "B - words": ["b"]}, "several tiers.*A - words.*B - words"),
        ({"one": ["a"], "two": ["b"]}, "none of its tiers.*'one', 'two'"),
    ):
        with pytest.raises(UserError, match=why):
            said(**tiers)


def test_a_folder_of_several_kinds_says_which_it_reads(tmp_path, caplog):
    (tmp_path / "hyp").mkdir()
    for suffix in (".srt", ".vtt", ".json"):
        spoken("the cat").save(tmp_path / "hyp" / f"u1{suffix}")
    (tmp_path / "ref.txt").write_text("u1 the cat\n")
    with caplog.at_level("INFO"):
        read_pair(tmp_path / "ref.txt", tmp_path / "hyp")
    assert ".json files are read" in caplog.text
    assert "1 .srt, 1 .vtt" in caplog.text


def test_a_kaldi_directory_has_speakers_and_languages(tmp_path):
    (tmp_path / "text").write_text(kaldi(TEXTS))
    (tmp_path / "utt2spk").write_text("u1 s1\nu2 s2\nu3 s2\n")
    (tmp_path / "utt2lang").write_text("u1 eng\nu2 eng\nu3 fr\n")
    references, _ = read_pair(tmp_path, tmp_path / "text")
    assert [said.speaker for said in references] == ["s1", "s2", "s2"]
    assert [said.language for said in references] == ["en", "en", "fr"]


def test_phones_of_a_prism_directory(tmp_path):
    (tmp_path / "text.good").write_text("u1\t/h//aʊ//s/\nu2 t͡ʃaː\nu3 p a\n")
    (tmp_path / "text.lang").write_text("u1 <eng><test>\nu2 <unk>\nu3 <fra>\n")
    references, _ = read_pair(tmp_path, tmp_path / "text.good")
    assert [said.phones for said in references] == [("h", "aʊ", "s"), ("t͡ʃ", "aː"), ("p", "a")]
    assert [said.language for said in references] == ["en", "und", "fr"]


def test_plain_lines_are_compared_one_by_one(tmp_path):
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("the cat sat\nhello world\n\n")
    other.write_text("the cat sat\nhello word\n\n")
    references, hypotheses = read_pair(one, other)
    assert [said.text for said in references] == ["the cat sat", "hello world", ""]
    assert [said.text for said in hypotheses] == ["the cat sat", "hello word", ""]
    other.write_text("the cat sat\n")
    with pytest.raises(UserError, match=r"3 lines.*1"):
        read_pair(one, other)
    one.write_text("anna one two\nbeata three\n")
    other.write_text("beata three\nanna one two\n")
    assert {said.id for said in read_pair(one, other)[0]} == {"anna", "beata"}
    assert {said.id for said in read_pair(one, other, "lines")[0]} == {"1", "2"}


def test_ctm_goes_to_the_segments_of_stm(tmp_path):
    (tmp_path / "a.stm").write_text(
        "rec A s1 0.0 1.0 <o,f0> hello there\nrec A s2 4.0 6.0 <hes> world\n"
        "rec A s2 8.0 9.0 IGNORE_TIME_SEGMENT_IN_SCORING\n"
    )
    (tmp_path / "a.ctm").write_text(
        "rec 1 5.0 0.2 world 0.9\nrec 1 0.1 0.2 hello 0.9\nrec 1 1.1 0.2 there\nrec 1 8.5 0.1 um\n"
        "rec 1 9.5 0.1 late\n"
    )
    references, hypotheses = read_pair(tmp_path / "a.stm", tmp_path / "a.ctm")
    assert [said.text for said in references] == ["hello there", "<hes> world"]
    assert [said.text for said in hypotheses] == ["hello there", "world late"]
    assert [said.speaker for said in references] == ["s1", "s2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a"}\n', "no id"),
        ("a.jsonl", '{"id": "u1"}\n', "neither text nor phones"),
        ("a.jsonl", "{broken\n", "a.jsonl"),
        ("a.csv", "1,2\n3,4\n", "name the columns"),
        ("a.csv", "id,text\nu1\n", "a.csv:2"),
        ("a.ctm", "rec 1 x 0.1 a\n", "a.ctm:1"),
        ("a.stm", "rec 1 s 0.1\n", "a.stm:1"),
        ("a.trn", "no id\n", "a.trn:1"),
        ("a.txt", "u1 a\nu1 b\n", "u1"),
        ("a.srt", "just text\n", "no subtitles"),
        ("a.TextGrid", "just text\n", "TextGrid in a text format"),
        ("a.TextGrid", "", "TextGrid in a text format"),
        ("a.eaf", "<ANNOTATION_DOCUMENT/>", "export"),
        ("a.json", '[{"id": "u1", "text": "a"}, {"id": "u1", "text": "b"}]', "twice"),
    ],
)
def test_what_cannot_be_read_is_named(name, content, message, tmp_path):
    (tmp_path / "ref.jsonl").write_text('{"id": "u1", "text": "a"}\n')
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_pair(tmp_path / "ref.jsonl", tmp_path / name)


def test_what_is_not_there_is_named(tmp_path):
    (tmp_path / "ref.txt").write_text("u1 a\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing.txt").write_text("")
    for name in ("gone.txt", "empty", "nothing.txt"):
        with pytest.raises(UserError, match=name):
            read_pair(tmp_path / "ref.txt", tmp_path / name)
