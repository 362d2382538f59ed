"""Transcripts of any source, with ids that can be compared."""

import json

import pytest

from speechx.corpora.transcripts import read_pair
from speechx.errors import UserError

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
