import pytest

from speechx.errors import UserError
from speechx.text.inventory import Inventory

HEADER = (
    "InventoryID,Glottocode,ISO6393,LanguageName,SpecificDialect,GlyphID,Phoneme,Allophones,"
    "Marginal,SegmentClass,Source\n"
)
GUP = """883,gunw1252,gup,Gunwinggu,NA,006D,m,m,FALSE,consonant,ph
883,gunw1252,gup,Gunwinggu,NA,0069,i,i ɪ,FALSE,vowel,ph
883,gunw1252,gup,"Gunwinggu, Eastern",NA,0067,ɡ,ɡ k kʰ,FALSE,consonant,ph
"""
KOR = """1,kore1280,kor,Korean,NA,0068,h,ç h,NA,consonant,spa
1,kore1280,kor,Korean,NA,02E5,˥,NA,NA,tone,spa
423,kore1280,kor,Korean,NA,0074+032A+007C+0074,t̪|t,NA,NA,consonant,upsid
423,kore1280,kor,Korean,NA,004E,N,NA,NA,consonant,upsid
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "phoible.csv"
    path.write_text(HEADER + GUP + KOR, encoding="utf-8")
    return path


def test_the_only_inventory_is_read_without_allophones(tmp_path):
    (tmp_path / "one.csv").write_text("\ufeff" + HEADER + GUP, encoding="utf-8")
    inventory = Inventory.from_file(tmp_path / "one.csv")
    assert inventory.phones == ("i", "m", "ɡ")
    assert inventory.language == "gup"
    assert "one.csv#883 (gunw1252, gup, Gunwinggu, ph)" in inventory.source


@pytest.mark.parametrize(
    ("choice", "phones"),
    [
        *(("883", ("i", "m", "ɡ")), ("gup", ("i", "m", "ɡ")), ("gunw1252", ("i", "m", "ɡ"))),
        *(("GUNWINGGU", ("i", "m", "ɡ")), ("1", ("h", "˥")), ("423", ("N", "t"))),
    ],
)
def test_one_of_several_is_chosen_by_its_number_or_its_language(table, choice, phones):
    assert Inventory.from_file(f"{table}#{choice}").phones == phones


def test_several_inventories_are_listed(table):
    with pytest.raises(UserError, match=r"holds 3 inventories.*#ID.*883 \(.*1 \(kore.*423 \("):
        Inventory.from_file(table)
    with pytest.raises(UserError, match=r"2 inventories for 'kor'.*: 1 \(.*423 \(.*upsid"):
        Inventory.from_file(f"{table}#kor")
    with pytest.raises(UserError, match=r"no inventories for 'xyz'.*883 \("):
        Inventory.from_file(f"{table}#xyz")


def test_a_phone_of_two_spellings_is_named(table, capsys):
    Inventory.from_file(f"{table}#423")
    assert "t̪|t" in capsys.readouterr().err


@pytest.mark.parametrize(("separator", "suffix"), [("\t", ".tsv"), (";", ".csv"), ("\t", ".txt")])
def test_other_separators_and_names(tmp_path, separator, suffix):
    path = tmp_path / f"mine{suffix}"
    path.write_text(f"Phoneme{separator}Note\na{separator}x\nⁿd{separator}\n", encoding="utf-8")
    assert Inventory.from_file(path).phones == ("a", "ⁿd")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("phone,count\na,3\n", r"no column Phoneme.*phone,count"),
        (HEADER, "no phones found"),
        (HEADER + "883,gunw1252,gup,Gunwinggu\n", r"row 2 has no Phoneme"),
    ],
)
def test_other_tables_are_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        Inventory.from_file(tmp_path / "t.csv")


def test_a_list_has_no_inventories_to_choose_from(tmp_path):
    (tmp_path / "phones.txt").write_text("a b", encoding="utf-8")
    with pytest.raises(UserError, match="leave out #883"):
        Inventory.from_file(tmp_path / "phones.txt#883")
    (tmp_path / "odd#name.txt").write_text("a b", encoding="utf-8")
    assert Inventory.from_file(tmp_path / "odd#name.txt").phones == ("a", "b")


def test_allophones_and_marginal_phonemes_are_kept(table):
    inventory = Inventory.from_file(f"{table}#883")
    assert inventory.allophones == (("i", "ɪ"), ("m",), ("ɡ", "k", "kʰ"))
    text = table.read_text(encoding="utf-8").replace("i ɪ,FALSE", "i ɪ,TRUE")
    table.write_text(text, encoding="utf-8")
    assert Inventory.from_file(f"{table}#gup").marginal == ("i",)


def test_inventories_are_joined_only_where_this_is_asked_for(table):
    joined = Inventory.from_file(f"{table}#1+423")
    assert joined.phones == ("N", "h", "t", "˥")
    assert joined.language == "kor"
    assert "1 (kore1280" in joined.source
    assert "423 (kore1280" in joined.source
    assert dict(zip(joined.phones, joined.allophones, strict=True))["h"] == ("c\u0327", "h")
    with pytest.raises(UserError, match="no inventories for '9'"):
        Inventory.from_file(f"{table}#1+9")
