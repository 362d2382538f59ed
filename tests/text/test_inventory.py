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
