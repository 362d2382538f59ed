"""`speechx lm train`: what becomes a sentence, and that test sentences stay out."""

from __future__ import annotations

import gzip

import pytest

from speechx.cli.main import main
from speechx.data.manifest import Utterance, read_manifest, write_manifest
from speechx.decoding.ngram import BEGIN
from speechx.decoding.ngram_file import read_ngram
from speechx.errors import UserError
from speechx.language_model import check_unseen, shared_sentences, train_lm

TEXT = "Guten Morgen, Welt!\n\nDie Welt – sie ist schön.\r\n…\nGuten Abend.\n"
SPECIAL = {"<s>", "</s>", "<unk>"}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


@pytest.fixture
def manifest(tmp_path):
    def write(name, texts, phones=None, language="de"):
        path = tmp_path / name
        write_manifest(
            path,
            [
                Utterance(
                    id=f"u{i}", audio=tmp_path / f"{i}.wav", duration=1.0, language=language,
                    text=text, phones=None if phones is None else tuple(phones[i].split()),
                )
                for i, text in enumerate(texts)
            ],
        )  # fmt: skip
        return path

    return write


def words(model):
    return set(model.tokens) - SPECIAL


def test_text_is_normalised_like_references(text, caplog):
    with caplog.at_level("INFO", "speechx"):
        model = train_lm([text], order=2)
    assert words(model) == {"guten", "morgen", "welt", "die", "sie", "ist", "schön", "abend"}
    assert any("1 sentences without words" in record.message for record in caplog.records)


def test_rules_of_the_language_hold(tmp_path):
    (tmp_path / "tr.txt").write_text("ISPARTA ILIK\nISLAK\n", encoding="utf-8")
    assert words(train_lm([tmp_path / "tr.txt"], order=1, language="tr")) == {
        "ısparta",
        "ılık",
        "ıslak",
    }


def test_the_space_is_a_token_of_characters(text, tmp_path):
    model = train_lm([text], tmp_path / "lm.arpa", tokens="characters")
    assert words(model) == set("guten morgen welt die sie ist schön abend")
    assert words(read_ngram(tmp_path / "lm.arpa")) == words(model)


def test_manifests_texts_and_gzip_together(text, manifest, tmp_path):
    (tmp_path / "more.txt.gz").write_bytes(gzip.compress(b"noch mehr\n"))
    sources = [text, manifest("train.jsonl", ["Aus dem Korpus"]), tmp_path / "more.txt.gz"]
    assert {"guten", "korpus", "mehr"} <= words(train_lm(sources))


def test_phones_of_manifests_and_of_lines(manifest, tmp_path):
    path = manifest("train.jsonl", ["tag", "nacht"], ["t aː k", "n a x t"])
    assert words(train_lm([path], tokens="phonemes")) == set("tknax") | {"aː"}
    (tmp_path / "phones.txt").write_text("t aː k | n a x t\nm ɔ ʁ ɡ n̩\n", encoding="utf-8")
    model = train_lm([tmp_path / "phones.txt"], tokens="phonemes", order=3)
    assert "|" not in model.tokens
    assert "n̩" in model.tokens


def test_phones_of_a_word_list_by_g2p(tmp_path):
    pytest.importorskip("espeakng_loader")
    (tmp_path / "words.txt").write_text("casa\nperro\ngato\n", encoding="utf-8")
    model = train_lm([tmp_path / "words.txt"], tokens="phonemes", language="es")
    assert {"k", "a", "s"} <= words(model)


def test_ordinary_text_is_not_taken_for_phones(text):
    with pytest.raises(UserError, match="--language"):
        train_lm([text], tokens="phonemes")


def test_a_manifest_without_phones_is_an_error(manifest):
    with pytest.raises(UserError, match="data phones"):
        train_lm([manifest("train.jsonl", ["tag"])], tokens="phonemes")


@pytest.mark.parametrize("tokens", ["words", "characters"])
def test_text_with_test_sentences_is_refused(text, manifest, tokens, tmp_path):
    test = manifest("test.jsonl", ["guten  ABEND", "etwas anderes"])
    with pytest.raises(UserError, match="guten abend"):
        train_lm([text], tmp_path / "lm.arpa", tokens=tokens, exclude=[test])
    assert not (tmp_path / "lm.arpa").exists()
    model = train_lm([text], tokens=tokens, exclude=[test], drop_shared=True)
    assert "abend" not in "".join(model.tokens)
    assert shared_sentences(model, []) == []


def test_a_file_that_cannot_be_written_is_an_error_before_the_text_is_read(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        train_lm([tmp_path / "missing.txt"], tmp_path / "file" / "lm.arpa")


def test_a_text_that_is_all_test_sentences_is_refused_and_named(text, manifest):
    held_out = text.read_text()
    test = manifest("test.jsonl", held_out.splitlines())
    with pytest.raises(UserError, match="abend"):
        train_lm([text], exclude=[test], drop_shared=True)


def test_a_model_knows_the_sentences_of_its_text(text, manifest, tmp_path):
    train_lm([text], tmp_path / "lm.safetensors", order=2)
    model = read_ngram(tmp_path / "lm.safetensors")
    test = read_manifest(manifest("test.jsonl", ["Guten Abend", "etwas anderes"]))
    assert shared_sentences(model, test) == ["Guten Abend"]
    with pytest.raises(UserError, match="Guten Abend"):
        check_unseen(model, test)
    check_unseen(model, test[1:])


def test_phones_of_test_sentences_are_found_too(manifest):
    path = manifest("train.jsonl", ["tag", "nacht"], ["t aː k", "n a x t"])
    test = manifest("test.jsonl", [None], ["n a x t"])
    with pytest.raises(UserError, match="nacht"):
        train_lm([path], tokens="phonemes", exclude=[test])


@pytest.mark.parametrize(
    ("line", "sentence", "language"),
    [
        ("IŞIK ILIK", "Işık ılık.", "tr"),  # read without the rules of Turkish
        ("今天 天气 很好", "今天天气很好。", "zh-CN"),
        (
            "Und dann. Die Sonne scheint den ganzen Tag. Ende.",
            "die Sonne scheint den ganzen Tag",
            "de",
        ),
        ("Die Sonne scheint den ganzen Tag.", "Die Sonne scheint den ganzen Tag. Ach so.", "de"),
        ("今天天气很好！我很高兴。", "今天天气很好", "zh-CN"),
    ],
)
def test_test_sentences_are_found_in_other_forms(tmp_path, manifest, line, sentence, language):
    (tmp_path / "text.txt").write_text(f"{line}\nnoch etwas\n", encoding="utf-8")
    test = manifest("test.jsonl", [sentence], language=language)
    with pytest.raises(UserError, match="1 sentences of the test data"):
        train_lm([tmp_path / "text.txt"], exclude=[test])
    model = train_lm([tmp_path / "text.txt"], exclude=[test], drop_shared=True)
    assert words(model) == {"noch", "etwas"}
    known = train_lm([tmp_path / "text.txt"])
    with pytest.raises(UserError, match="was trained on 1 sentences"):
        check_unseen(known, read_manifest(test))


def test_a_short_answer_does_not_exclude_a_line_that_holds_it(tmp_path, manifest):
    (tmp_path / "text.txt").write_text("Ja. Das machen wir so.\n", encoding="utf-8")
    assert (
        "machen"
        in train_lm([tmp_path / "text.txt"], exclude=[manifest("test.jsonl", ["ja"])]).tokens
    )


def test_phones_of_test_sentences_are_found_in_any_spelling(tmp_path, manifest):
    (tmp_path / "phones.txt").write_text("ˈt͡ʃ a g\nm a\n", encoding="utf-8")
    test = manifest("test.jsonl", [None], ["tʃ a ɡ"])
    with pytest.raises(UserError, match="1 sentences of the test data"):
        train_lm([tmp_path / "phones.txt"], tokens="phonemes", exclude=[test])


def test_the_command(text, tmp_path, capsys):
    out = tmp_path / "lm.arpa.gz"
    assert (
        main(["lm", "train", str(text), "-o", str(out), "--order", "3", "--prune", "0", "0", "1"])
        == 0
    )
    assert capsys.readouterr().out == f"{out}\n"
    model = read_ngram(out)
    assert BEGIN in model.tokens


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "lm.txt"], ".arpa"),
        (["-o", "lm.arpa", "--order", "9"], "1 to 6"),
        (["-o", "lm.arpa", "--order", "0"], "1 to 6"),
        (["-o", "lm.arpa", "--tokens", "letters"], "characters"),
        (["-o", "lm.arpa", "--exclude", "absent.jsonl"], "absent.jsonl"),
    ],
)
def test_wrong_options_are_one_line(text, options, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["lm", "train", str(text), *options]) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_an_empty_text_is_an_error(tmp_path):
    for content in ("", "\n \n", "…!\n"):
        (tmp_path / "empty.txt").write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match="empty"):
            train_lm([tmp_path / "empty.txt"])


@pytest.mark.parametrize("name", ["validated.tsv", "tape.eaf", "out.json"])
def test_a_table_is_not_taken_for_text(name, tmp_path):
    (tmp_path / name).write_text("id\tsentence\n1\tciao\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no plain text.*one a line"):
        train_lm([tmp_path / name])


def test_a_text_without_spaces_gets_advice(tmp_path, capsys):
    (tmp_path / "zh.txt").write_text("你好世界,你好\n今天天气很好\n", encoding="utf-8")
    train_lm([tmp_path / "zh.txt"])
    assert "--tokens characters" in capsys.readouterr().err
