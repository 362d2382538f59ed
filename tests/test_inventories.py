"""Inventories and mappings on the command line: shown, compared, mapped, edited, used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from speechx.audio.files import write_flac
from speechx.cli.main import main
from speechx.errors import UserError
from speechx.inventories import map_inventories, show_inventory
from speechx.transcription.loading import load
from tests.conftest import tone_wave
from tests.toy_models import PHONES, toy_model

LANGUAGE = "a e u d ɡ ɣ\n"
PHOIBLE = (
    "InventoryID,Glottocode,ISO6393,LanguageName,SpecificDialect,Phoneme,Allophones,Marginal,Source\n"
    "1,kore1280,kor,Korean,NA,a,a ɐ,FALSE,spa\n1,kore1280,kor,Korean,NA,h,ç h,TRUE,spa\n"
    "423,kore1280,kor,Korean,NA,a,NA,NA,upsid\n423,kore1280,kor,Korean,NA,k,NA,NA,upsid\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inventories")
    toy_model(folder / "model", PHONES, "phonemes")
    write_flac(folder / "good.flac", tone_wave("abcdabcd", np.random.default_rng(0)))
    (folder / "phones.txt").write_text(LANGUAGE, encoding="utf-8")
    (folder / "phoible.csv").write_text(PHOIBLE, encoding="utf-8")
    return folder


@pytest.fixture
def call(place, capsys, monkeypatch):
    """Runs a command in the folder, and returns its exit code, its output and its messages."""
    monkeypatch.chdir(place)

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def rows_of(table: str) -> dict[str, list[str]]:
    """Cells of a TSV by source, the first row of each."""
    rows: dict[str, list[str]] = {}
    for line in table.splitlines()[1:]:
        cells = line.split("\t")
        rows.setdefault(cells[0], cells)
    return rows


def test_show_has_the_source_the_kinds_and_what_the_model_does(call, place):
    code, out, _ = call("inventory", "show", "phones.txt", "--model", "model", "--chart", "c.svg")
    assert code == 0
    assert "phones.txt" in out
    assert "6: 3 consonants, 3 vowels" in out
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "known" in lines["a"]
    assert "second pass from" in lines["ɣ"]
    assert (place / "c.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_show_lists_the_doculects_of_a_language(call):
    code, out, _ = call("inventory", "show", "phoible.csv#kor")
    assert code == 0
    assert "all have: a" in out
    assert "1 also: h" in out
    assert "423 also: k" in out
    code, _, err = call("inventory", "show", "phoible.csv#kor", "--chart", "c.png")
    assert code == 1
    assert "#1+423" in err
    code, out, _ = call("inventory", "show", "phoible.csv#1")
    assert [line.split() for line in out.splitlines()[-2:]] == [
        ["a", "vowel", "a", "ɐ"],
        ["h", "consonant", "yes", "c\u0327", "h"],
    ]
    assert call("inventory", "show", "phoible.csv#1+423")[1].count("kore1280") == 2


def test_compare(call):
    code, out, _ = call("inventory", "compare", "phoible.csv#1", "phoible.csv#423")
    assert code == 0
    assert "shared 1, only A 1, only B 1" in out
    assert "0.0833" in call("inventory", "compare", "pt", "es")[1]
    assert call("inventory", "compare", "pt", "pt")[1].count("only") == 2
    assert call("inventory", "compare", "pt", "none.txt")[0] == 1


def test_map_prints_or_writes_a_table_and_keeps_one_that_was_edited(call, place):
    words = ("inventory", "map", "--model", "model", "--target", "phones.txt")
    code, out, err = call(*words)
    assert code == 0
    assert set(rows_of(out)) == set(PHONES)
    assert "train-to-target, hamming distance, with second pass" in err
    table = place / "kept.tsv"
    assert call(*words, "-o", table)[1].strip() == str(table)
    assert table.read_text(encoding="utf-8") == out
    assert call(*words, "-o", table)[0] == 0, "the same again"
    table.write_text(out.replace("nearest", "by-hand"), encoding="utf-8")
    code, _, err = call(*words, "-o", table)
    assert code == 1
    assert "edited by hand" in err
    assert call(*words, "-o", table, "--overwrite")[0] == 0
    assert table.read_text(encoding="utf-8") == out


def test_settings_of_map(call):
    words = ("inventory", "map", "--source", "es", "--target", "pt")
    assert "reverse-pass" in call(*words)[1]
    assert "reverse-pass" not in call(*words, "--no-second-pass")[1]
    out = call(*words, "--threshold", "0.05")[1]
    assert "\t\t\tleft-out" in out
    out = call(*words, "--direction", "target-to-train", "--distance", "weighted")[1]
    assert rows_of(out)["ʝ"][1:4] == ["", "", "left-out"]
    for bad in (("--threshold", "-1"), ("--direction", "up"), ("--distance", "far")):
        assert call(*words, *bad)[0] == 1
    assert call("inventory", "map", "--target", "es")[0] == 1


@pytest.fixture
def edited(place, call) -> Path:
    """A mapping in which a person sent every e to u, and said why."""
    table = map_inventories("model", "phones.txt").to_tsv(left_out=True)
    lines = table.splitlines()
    lines = [f"{lines[0]}\tcomment"] + [
        "e\tu\t0.0000\texact\t\tlike the elders, ja" if line.startswith("e\t") else line
        for line in lines[1:]
    ]
    path = place / "mapping.tsv"
    path.write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n").encode())
    return path


@pytest.mark.parametrize("beside", [(), ("--inventory", "phones.txt")])
def test_phonemize_writes_what_an_edited_mapping_says(call, place, edited, beside):
    model = load(place / "model", "cpu")
    before = model.phonemize(place / "good.flac", "phones.txt").text.split()
    words = ("phonemize", "good.flac", "--model", "model", "--mapping", "mapping.tsv", *beside)
    code, out, err = call(*words, "-f", "json")
    assert code == 0
    data = json.loads(out)
    assert "e" in before
    assert "e" not in data["text"].split()
    assert ["e", "u", "by-hand"] in data["mapping"]["pairs"]
    assert data["mapping"]["made"].startswith("mapping.tsv, sha256 ")
    assert data["inventory"].startswith("phones.txt" if beside else "mapping.tsv")
    assert "by-hand" in err
    code, out, _ = call(*words[:1], *words[2:], "--show-mapping")
    assert (rows_of(out)["e"][1], rows_of(out)["e"][3]) == ("u", "by-hand")


def test_results_are_old_once_the_mapping_was_edited(call, place, edited):
    words = ("phonemize", "good.flac", "--model", "model", "--mapping", edited, "-o", "out")
    assert call(*words)[0] == 0
    assert "0 of these results" in call(*words)[2]
    os.utime(edited, (2e9, 2e9))
    assert "1 of these results is older" in call(*words)[2]


def test_evaluate_scores_an_edited_mapping_and_keeps_it(call, place, edited, manifests):
    words = ("evaluate", "--model", "model", "--manifest", manifests[1], "-o", "scores.json")
    code, out, _ = call(*words, "--mapping", "mapping.tsv")
    assert code == 0
    assert "by-hand" in out
    written = json.loads((place / "scores.json").read_text(encoding="utf-8"))
    rows = {row["source"]: row for row in written["mapping"]["rows"]}
    assert (rows["e"]["target"], rows["e"]["comment"]) == ("u", "like the elders, ja")
    assert written["inventory"].startswith("mapping.tsv")
    code, _, err = call(*words, "--mapping", "mapping.tsv", "--calibrate")
    assert code == 1
    assert "unseen" in err


def test_mistakes_with_a_mapping_are_one_line(call, place, edited):
    (place / "bad.tsv").write_text("source\ttarget\nq\ta\na\ta\n", encoding="utf-8")
    (place / "columns.tsv").write_text("from\tto\na\ta\n", encoding="utf-8")
    (place / "one.txt").write_text("aeu\n", encoding="utf-8")
    words = ("phonemize", "good.flac", "--model", "model")
    for more, said in (
        ((), "give --language, --inventory or --mapping"),
        (("--mapping", "bad.tsv"), "the model does not write 'q' (line 2"),
        (("--mapping", "columns.tsv"), "source and target"),
        (("--mapping", "gone.tsv"), "gone.tsv: cannot read the mapping"),
        (("--mapping", "mapping.tsv", "--language", "pt"), "does not have: 'ɣ'"),
        (("--inventory", "one.txt"), "has one phone, 'aeu'"),
        (("--language", "pt", "--inventory", "phones.txt"), "not allowed with"),
    ):
        code, out, err = call(*words, *more)
        assert (code, out) == (1, "")
        assert said in err.splitlines()[-1]
        assert "Traceback" not in err


def test_a_mapping_of_another_model_is_refused(place):
    model = load(place / "model", "cpu")
    other = map_inventories("es", str(place / "phones.txt"))
    with pytest.raises(UserError, match="make it for this model"):
        model.phonemize(place / "good.flac", mapping=other)
    with pytest.raises(UserError, match="inventory of a language, or a mapping"):
        model.phonemize(place / "good.flac")
    with pytest.raises(UserError, match="--model too"):
        show_inventory("pt", mapping=place / "mapping.tsv")
