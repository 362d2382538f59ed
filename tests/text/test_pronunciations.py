import pytest

from speechx.errors import UserError
from speechx.text.inventory import Inventory


def read(tmp_path, text, name="lexicon.tsv") -> Inventory:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return Inventory.from_file(tmp_path / name)


@pytest.mark.parametrize("name", ["lexicon.tsv", "lexicon.txt", "mine.dict"])
def test_phones_of_a_lexicon_are_counted(tmp_path, name):
    inventory = read(tmp_path, "casa\tk a z a\nasa\ta z ɐ\tˈa z a\ng\tg\n", name)
    assert dict(zip(inventory.phones, inventory.counts, strict=True)) == {
        **{"a": 5, "k": 1, "z": 3, "ɐ": 1, "ɡ": 1}
    }


@pytest.mark.parametrize("line", ['"casa"\t"k a z a"\n', "casa\t/k a z a/\n", "casa\t[k a z a]\n"])
def test_quotes_and_slashes_around_a_cell_are_no_phones(tmp_path, line, capsys):
    assert set(read(tmp_path, line).phones) == {"k", "a", "z"}
    assert capsys.readouterr().err == ""


def test_numbers_and_boundaries_are_no_phones(tmp_path, capsys):
    inventory = read(tmp_path, "# from somewhere\r\nbom\t0.9\t1,0\tb õ . m\r\n\r\nte\t0.1\tt e\r\n")
    assert set(inventory.phones) == {"b", "e", "m", "t", "o\u0303"}
    assert "1 boundaries" in capsys.readouterr().err


def test_symbols_that_are_not_ipa_are_named_with_a_word(tmp_path, capsys):
    inventory = read(tmp_path, "shoe\tS u\nsee\ts i\nsheep\tS i p\n")
    assert "S" in inventory.phones
    assert "1 symbols that are not IPA: 'S' (in 'shoe')" in capsys.readouterr().err


def test_words_outside_the_alphabet_are_named_with_the_phones_that_only_they_have(tmp_path, capsys):
    usual = "".join(f"{word}\tm a {vowel}\n" for word in ("ma", "me", "mi") for vowel in "aeiou")
    inventory = read(tmp_path, usual + "щи\tɕ i\n")
    assert "ɕ" in inventory.phones
    said = capsys.readouterr().err
    assert "1 of 16 words have letters beyond Latin: щи; only they have the phones ɕ" in said


def test_words_without_phones_are_named(tmp_path, capsys):
    read(tmp_path, "a\ta b\nleer\t\n")
    assert "1 words without phones: leer" in capsys.readouterr().err


def test_a_table_that_is_no_lexicon_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no column Phoneme.*no lexicon"):
        read(tmp_path, "word\ncasa\n")
