"""One word names an inventory, in every command."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from speechx.data.manifest import Utterance, write_manifest
from speechx.errors import UserError
from speechx.text.inventory import Inventory
from speechx.transcription.inventory_source import inventory_of
from tests.toy_models import toy_model

PHOIBLE = "InventoryID,ISO6393,Phoneme,Allophones\n1,xxx,a,a\n1,xxx,t,t d\n2,xxx,s,NA\n3,yyy,e,e\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phones.txt").write_text("a b tʃ\n", encoding="utf-8")
    (tmp_path / "lexicon.tsv").write_text("mama\tm a m a\n", encoding="utf-8")
    (tmp_path / "phoible.csv").write_text(PHOIBLE, encoding="utf-8")
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1}), encoding="utf-8")
    (tmp_path / "text.txt").write_text("mamá\nmamá\n", encoding="utf-8")
    one = Utterance(
        id="a", audio="a.flac", duration=1.0, language="xx", text="mamá", phones=("a", "b", "a")
    )
    write_manifest(tmp_path / "train.jsonl", [one, replace(one, id="b", phones=None)])
    return tmp_path


@pytest.mark.parametrize(
    ("word", "language", "phones", "counts"),
    [
        ("phones.txt", "und", "a b tʃ", ""),
        ("lexicon.tsv", "und", "a m", "2 2"),
        ("train.jsonl", "xx", "a b", "2 1"),
        ("phoible.csv#1", "xxx", "a t", ""),
        ("phoible.csv#yyy", "yyy", "e", ""),
        ("phoible.csv#1+2", "xxx", "a s t", ""),
        ("vocab.json", "und", "a b", ""),
        ("es:text.txt", "es", "a m", "4 4"),
        ("Spanish:train.jsonl", "es", "a m", "4 4"),
    ],
)
def test_each_kind_of_source(place, word, language, phones, counts):
    inventory = inventory_of(word)
    assert inventory.language == language
    assert " ".join(inventory.phones) == phones
    assert " ".join(map(str, inventory.counts)) == counts
    assert word.partition("#")[0].split(":")[-1] in inventory.source


def test_a_shipped_language_by_code_or_name_even_if_a_folder_has_its_name(place):
    (place / "pt").mkdir()
    assert inventory_of("pt") == inventory_of("Portuguese") == Inventory.for_language("pt")


def test_a_model_is_the_inventory_of_what_it_writes(place):
    model = toy_model(place / "model", ("a", "g", "t͡ʃ", "ai5"), "phonemes")
    inventory = inventory_of(str(model))
    assert inventory.phones == ("a", "ai5", "tʃ", "ɡ")
    assert str(model) in inventory.source
    toy_model(place / "speller")
    with pytest.raises(UserError, match=r"writes characters.*objective\.tokens=phonemes"):
        inventory_of("speller")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("zz", "no phone inventory is shipped for 'zz'"),
        ("", "no phone inventory is shipped for ''"),
        ("gone.txt", r"gone\.txt: cannot read"),
        ("gone.txt#1", r"gone\.txt: cannot read"),
        ("phoible.csv", "holds 3 inventories"),
        ("phoible.csv#xxx", "holds 2 inventories for 'xxx'.*1 .*2 "),
        ("es:gone.txt", r"gone\.txt: cannot read the text"),
        ("qqq:text.txt", "no voice for the language 'qqq'"),
        ("./folder", "holds no model"),
    ],
)
def test_words_that_name_nothing(place, word, message):
    (place / "folder").mkdir()
    with pytest.raises(UserError, match=message):
        inventory_of(word)


def test_words_that_name_no_model_do_not_load_torch(place):
    code = (
        "import sys; from speechx.transcription.inventory_source import inventory_of\n"
        "for word in ('pt', 'phones.txt', 'lexicon.tsv', 'phoible.csv#1'): inventory_of(word)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=place)
