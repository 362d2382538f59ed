"""`speechx score`: the numbers of jiwer and of `speechx evaluate`, from text alone."""

import json

import jiwer
import pytest

from speechx.cli.main import main
from speechx.errors import UserError
from speechx.score import score_files

REFERENCE = "u1 The cat sat!\nu2 hello, world\nu3 oh\n"
HYPOTHESIS = "u2 hello word\nu1 the cat\nu3 oh\n"


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "ref.txt").write_text(REFERENCE)
    (tmp_path / "hyp.txt").write_text(HYPOTHESIS)
    return tmp_path / "ref.txt", tmp_path / "hyp.txt"


def test_words_and_characters_are_jiwers_after_normalisation(texts, tmp_path, capsys):
    out = tmp_path / "scores.json"
    assert main(["score", *map(str, texts), "-o", str(out), "--language", "eng"]) == 0
    said, heard = ["the cat sat", "hello world", "oh"], ["the cat", "hello word", "oh"]
    written = json.loads(out.read_text())
    assert written["metric"] == "cer"  # the headline of `speechx evaluate`
    assert written["overall"]["rate"] == pytest.approx(jiwer.cer(said, heard))
    assert written["scores"]["wer"]["overall"]["rate"] == pytest.approx(jiwer.wer(said, heard))
    assert list(written["languages"]) == ["en"]
    assert "WER" in capsys.readouterr().out


def test_the_policy_is_that_of_evaluate(texts):
    from speechx.decoding.preparation import PREPARED

    normalised = score_files(*texts, resamples=2).scores["wer"].policy
    assert PREPARED["characters"] in normalised
    as_given = score_files(*texts, as_given=True, resamples=2)
    assert as_given.scores["wer"].policy != normalised
    assert as_given.scores["wer"].overall.edits == 4  # The sat! hello, world


def test_ids_of_one_side_only_are_an_error_unless_allowed(texts, tmp_path):
    reference, hypothesis = texts
    hypothesis.write_text("u1 the cat sat\nu2 hello world\nu9 what\n")
    with pytest.raises(UserError, match=r"u3.*u9.*--allow-missing"):
        score_files(reference, hypothesis)
    result = score_files(reference, hypothesis, allow_missing=True, out=tmp_path / "o.json")
    assert (result.missing, result.unscored) == (["u3"], ["u9"])
    assert result.scores["wer"].overall.deletions == 1
    written = json.loads((tmp_path / "o.json").read_text())
    assert (written["missing"], written["unscored"]) == (["u3"], ["u9"])
    hypothesis.write_text("x1 the cat\nx2 hello\n")
    with pytest.raises(UserError, match="share no id"):
        score_files(reference, hypothesis, allow_missing=True, format="kaldi")


def test_phones_are_scored_strictly_and_relaxed(tmp_path, capsys):
    (tmp_path / "ref.txt").write_text("u1 h aʊ s\nu2 t͡ʃ aː\n")
    (tmp_path / "hyp.txt").write_text("u1 h a ʊ s\nu2 t ʃ a\n")
    files = [str(tmp_path / "ref.txt"), str(tmp_path / "hyp.txt")]
    page, out = tmp_path / "page.html", tmp_path / "o.json"
    options = ["--metric", "per,prism", "--details", "--page", str(page), "-o", str(out)]
    assert main(["score", *files, *options]) == 0
    written = json.loads(out.read_text())
    details = written["details"]
    assert written["overall"]["rate"] == 1
    assert details["policies"]["split"]["overall"]["edits"] == 1
    assert details["policies"]["relaxed"]["overall"]["edits"] == 0
    assert written["scores"]["prism"] == details["prism"]
    assert details["confusions"]["aspects"]["manner"]["affricate"] == {"fricative": 1}
    printed = capsys.readouterr().out
    assert "relaxed" in printed
    assert "affricate" in printed
    html = page.read_text(encoding="utf-8")
    assert "aʊ" in html
    assert "<script" not in html
    assert "http:" not in html
    assert "https:" not in html


def test_phones_without_spaces_are_scored_by_prism_alone(tmp_path):
    (tmp_path / "ref.txt").write_text("u1 haʊs\nu2 tʃaː\n")
    (tmp_path / "hyp.txt").write_text("u1 h a ʊ z\nu2 tʃaː\n")
    files = tmp_path / "ref.txt", tmp_path / "hyp.txt"
    found = score_files(*files, ["prism"], resamples=2).scores["prism"]
    assert found.overall.distance == pytest.approx(1 / 24)
    assert found.overall.segments == 7
    with pytest.raises(UserError, match="prism"):
        score_files(*files, ["per"])
    (tmp_path / "words.txt").write_text("u1 these are words\nu2 no phones\n")
    with pytest.raises(UserError, match="wer"):
        score_files(tmp_path / "words.txt", tmp_path / "words.txt", ["per"])


def test_a_manifest_gives_languages_speakers_and_players(tones, manifests, tmp_path):
    from speechx.data.manifest import read_manifest

    some = read_manifest(manifests[1])
    hypotheses = "".join(f'{{"id": "{u.id}", "text": "{u.text}x"}}\n' for u in some)
    (tmp_path / "hyp.jsonl").write_text(hypotheses)
    page = tmp_path / "page.html"
    result = score_files(manifests[1], tmp_path / "hyp.jsonl", ["cer"], page=page)
    cer = result.scores["cer"]
    assert set(cer.languages) == {"xx", "yy"}
    assert cer.overall.insertions == len(some)
    speakers = cer.speakers["xx"]
    assert {*speakers} == {u.speaker for u in some if u.language == "xx"}
    assert sum(s.edits for s in speakers.values()) == cer.languages["xx"].edits
    assert "xx_0" in result.table(details=True)
    assert page.read_text().count("data:audio") == len(some)


def test_what_cannot_be_scored_is_named(texts, tmp_path):
    with pytest.raises(UserError, match="blue"):
        score_files(*texts, ["blue"])
    (tmp_path / "empty.txt").write_text("u1\nu2\nu3\n")
    with pytest.raises(UserError, match="empty"):
        score_files(tmp_path / "empty.txt", texts[1], format="kaldi")
    (tmp_path / "phones.jsonl").write_text('{"id": "u1", "phones": ["a"]}\n')
    with pytest.raises(UserError, match="no text"):
        score_files(tmp_path / "phones.jsonl", tmp_path / "phones.jsonl", ["wer"])


def test_references_without_a_label_are_left_out_and_logged(tmp_path, caplog):
    line = '{"id": "%s", "audio": "a.wav", "duration": 1, "language": "en"%s}\n'
    (tmp_path / "ref.jsonl").write_text(line % ("u1", ', "phones": ["a", "b"]') + line % ("u2", ""))
    (tmp_path / "hyp.txt").write_text("u1 a c\n")
    scores = score_files(tmp_path / "ref.jsonl", tmp_path / "hyp.txt", resamples=2).scores
    assert {name: each.overall.rate for name, each in scores.items()} == {"per": 1 / 2}
    assert "u2" in caplog.text


def test_plain_lines_against_ids_get_advice(tmp_path):
    (tmp_path / "ref.jsonl").write_text('{"id": "u1", "text": "a b"}\n{"id": "u2", "text": "a"}\n')
    for lines in ("the cat\nthe dog\n", "one cat\ntwo dogs\n"):
        (tmp_path / "hyp.txt").write_text(lines)
        with pytest.raises(UserError, match=r"first word of a line.*lines without ids"):
            score_files(tmp_path / "ref.jsonl", tmp_path / "hyp.txt")


def test_signs_that_are_no_phones_are_named(tmp_path, caplog):
    (tmp_path / "ref.txt").write_text("p a | t a\n")
    (tmp_path / "hyp.txt").write_text("/p a t a/\n")
    score_files(tmp_path / "ref.txt", tmp_path / "hyp.txt", ["per"], resamples=2)
    assert "references are no phones of IPA and are scored as phones: '|' 1" in caplog.text
    assert "'/p' 1" in caplog.text
