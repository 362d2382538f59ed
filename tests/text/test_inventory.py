import json
import subprocess
import sys
from importlib import resources

import pytest

from speechx.errors import UserError
from speechx.text.inventory import Inventory, shipped_inventories


def test_the_shipped_inventories_are_up_to_date_with_g2p():
    file = resources.files("speechx.text") / "inventories.json"
    ours = json.loads(file.read_text(encoding="utf-8"))
    made = json.loads(shipped_inventories())
    assert {k: v["phones"] for k, v in ours.items()} == {k: v["phones"] for k, v in made.items()}


def test_for_language():
    portuguese = Inventory.for_language("pt")
    assert {"ʎ", "ɲ", "ɐ̃ʊ̃"} <= set(portuguese.phones)
    assert portuguese.phones == tuple(sorted(portuguese.phones))
    assert "espeak-ng" in portuguese.source


def test_the_error_for_an_unknown_language_lists_the_others():
    with pytest.raises(UserError, match=r"'xx': known are ca, .*\.jsonl"):
        Inventory.for_language("xx")


def test_from_file_with_comments_and_other_spellings(tmp_path):
    path = tmp_path / "phones.txt"
    path.write_text("\ufeffg t͡ʃ # a comment: not IPA\n\na:\ng\n", encoding="utf-8")
    inventory = Inventory.from_file(path, "xx")
    assert inventory.phones == ("aː", "tʃ", "ɡ")
    assert inventory.source == str(path)


def test_only_a_newline_ends_a_line(tmp_path):
    """A comment may hold U+2028, which other ways of splitting take for a line end."""
    (tmp_path / "phones.txt").write_text("a # one\u2028two\n", encoding="utf-8")
    assert Inventory.from_file(tmp_path / "phones.txt").phones == ("a",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"a b S dZ", r"2 symbols.*'S'.*'dZ'"),
        ("a.txt", b"# nothing\n", "no phones found"),
        ("a.txt", b"\xff\xfe\x00", "UTF-8"),
        ("a.txt", b"", "no phones found"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        Inventory.from_file(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(UserError, match="cannot read"):
            Inventory.from_file(path)


def test_checking_an_inventory_does_not_load_torch():
    code = (
        "import sys; from speechx.text.inventory import Inventory; "
        "Inventory.for_language('pt'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_phones_of_the_whole_chart_are_taken(tmp_path):
    phones = "a aˑ ⱱ ⁿd ˥ ǃ ↓ kʼ ɓ"
    (tmp_path / "phones.txt").write_text(phones.replace(" ", ",\n", 2), encoding="utf-8")
    assert Inventory.from_file(tmp_path / "phones.txt").phones == tuple(sorted(phones.split()))


def test_two_spellings_of_one_phone_are_named(tmp_path, capsys):
    (tmp_path / "phones.txt").write_text("g ɡ s s. ˈa a", encoding="utf-8")
    assert Inventory.from_file(tmp_path / "phones.txt").phones == ("a", "s", "s.", "ɡ")
    assert "g and ɡ are ɡ; ˈa and a are a" in capsys.readouterr().err


def test_stress_without_a_letter_is_no_phone(capsys):
    assert Inventory.of(["a", "ˈ", "b"], "xx", "a test").phones == ("a", "b")
    assert "a test: left out" in capsys.readouterr().err


def test_an_inventory_of_texts_has_no_phones_of_other_languages(capsys):
    assert "θ" not in Inventory.from_texts(["привет", "thing"], "ru").phones
    assert "ru: 1 of 2 texts left out" in capsys.readouterr().err


def test_texts_and_lists_with_numbers_have_counts(tmp_path):
    spanish = Inventory.from_texts(["mamá", "mamá"], "es", "two.txt")
    assert dict(zip(spanish.phones, spanish.counts, strict=True)) == {"a": 4, "m": 4}
    assert spanish.source.endswith("2 texts of two.txt")
    (tmp_path / "dict.phn.txt").write_text("a 70\ng 5\nɡ 2\n", encoding="utf-8")
    assert Inventory.from_file(tmp_path / "dict.phn.txt").counts == (70, 7)
    (tmp_path / "phones.txt").write_text("b 2\na 1\nc 3\n", encoding="utf-8")
    ids = Inventory.from_file(tmp_path / "phones.txt")
    assert (ids.phones, ids.counts) == (("a", "b", "c"), ())


def test_a_vocabulary_in_json_is_read_and_its_strange_symbols_are_named(tmp_path, capsys):
    symbols = {"<pad>": 0, "|": 1, "a": 2, "": 3, "t͡ʃ": 4, "dZ": 5}
    (tmp_path / "vocab.json").write_text(json.dumps(symbols), encoding="utf-8")
    assert Inventory.from_file(tmp_path / "vocab.json").phones == ("a", "dZ", "tʃ")
    said = capsys.readouterr().err
    for part in ("no phones: <pad> |", "1 symbols are not IPA: dZ", "left out", "''"):
        assert part in said
    for bad in ("{", '{"ctc": {"tokens": ["a"]}}', "[]", "[1]"):
        (tmp_path / "bad.json").write_text(bad, encoding="utf-8")
        with pytest.raises(UserError, match=r"bad\.json"):
            Inventory.from_file(tmp_path / "bad.json")


def test_words_in_a_list_of_phones_are_named(tmp_path, capsys):
    (tmp_path / "cmu.txt").write_text("casa k a s a\nt͡ʃːʰ aɪ\n", encoding="utf-8")
    assert "casa" in Inventory.from_file(tmp_path / "cmu.txt").phones
    assert "1 symbols have 4 letters or more, taken for phones: casa" in (capsys.readouterr().err)


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ("[p] [t] [a]", "brackets"),
        ("/p/, /t/, /a/", "slashes"),
        ("p; t; a", "signs around"),
        ("p t S tS @", "X-SAMPA"),
        ("P T A", "X-SAMPA or an orthography"),
        ("ma55 p", "U\\+0035"),
    ],
)
def test_what_people_write_for_phones_gets_advice(tmp_path, content, advice):
    (tmp_path / "phones.txt").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"not IPA: .*{advice}"):
        Inventory.from_file(tmp_path / "phones.txt")


def test_a_table_made_by_hand_may_write_its_columns_small(tmp_path):
    table = "inventoryid,phoneme,example\n1,p,phoneme\n1,a,pa\n2,k,ka\n"
    (tmp_path / "mine.csv").write_text(table, encoding="utf-8")
    assert Inventory.from_file(f"{tmp_path / 'mine.csv'}#1").phones == ("a", "p")
