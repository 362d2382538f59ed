import subprocess
import sys

import numpy as np
import pytest

from speechx.decoding.mapping import Mapping, map_inventory, map_posteriors
from speechx.errors import UserError

SOURCE = ("a", "e", "ɛ", "s", "z", "t", "tʃ", "k", "x", 'u"', "ai5")
TARGET = ("a", "e", "s", "t", "θ", "k", "˥")


@pytest.fixture
def made() -> Mapping:
    return map_inventory(SOURCE, TARGET)


def read(tmp_path, text, target=TARGET, source=SOURCE, encoding="utf-8") -> Mapping:
    (tmp_path / "mapping.tsv").write_bytes(text.encode(encoding))
    return Mapping.from_tsv(tmp_path / "mapping.tsv", source, target)


@pytest.mark.parametrize("left_out", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{}, {"measure": "weighted"}, {"direction": "target-to-train"}, {"threshold": 0.05}],
)
def test_a_mapping_that_nobody_edited_comes_back_as_it_was(tmp_path, settings, left_out):
    made = map_inventory(SOURCE, TARGET, **settings)
    back = read(tmp_path, made.to_tsv(left_out))
    assert [(r.source, r.target, r.match, r.tied) for r in back.rows] == [
        (r.source, r.target, r.match, r.tied) for r in made.rows
    ]
    assert [r.distance for r in back.rows] == pytest.approx([r.distance for r in made.rows])
    assert back.unmapped == made.unmapped
    np.testing.assert_array_equal(back.matrix(), made.matrix())
    assert "mapping.tsv, sha256 " in back.made


def spreadsheet(text: str, delimiter: str) -> str:
    """The table as a program might save it: sorted by target, columns moved, commas in numbers."""
    header, *rows = [line.split("\t") for line in text.splitlines()]
    rows.sort(key=lambda row: (row[1], row[3], row[0]), reverse=True)
    lines = []
    for row in [header, *rows]:
        row[2] = row[2].replace(".", ",")
        cells = ["", row[3], row[1], row[0], row[4], row[2]]
        quoted = [f'"{c}"' if delimiter in c else c for c in cells]
        lines.append(delimiter.join(quoted))
    return "\r\n".join(lines) + "\r\n" + delimiter * 5 + "\r\n"


@pytest.mark.parametrize("delimiter", ["\t", ";", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_a_spreadsheet_does_to_a_table_changes_nothing(tmp_path, made, delimiter, encoding):
    source = [phone for phone in SOURCE if phone != 'u"']
    plain = map_inventory(source, TARGET)
    text = spreadsheet(plain.to_tsv(left_out=True), delimiter)
    back = read(tmp_path, text, source=source, encoding=encoding)
    assert [(r.source, r.target, r.match, r.tied) for r in back.rows] == [
        (r.source, r.target, r.match, r.tied) for r in plain.rows
    ]
    assert back.unmapped == plain.unmapped


def edited(made: Mapping, source: str, new: str) -> str:
    """The table with another target of the first row of a source, and nothing else changed."""
    lines = made.to_tsv(left_out=True).splitlines()
    n = next(n for n, line in enumerate(lines) if line.startswith(f"{source}\t"))
    cells = lines[n].split("\t")
    lines[n] = "\t".join([cells[0], new, *cells[2:]])
    return "\n".join(lines)


def test_a_target_that_was_changed_is_by_hand_and_has_its_own_distance(tmp_path, made):
    back = read(tmp_path, edited(made, "tʃ", "s"))
    (row,) = [r for r in back.rows if r.source == "tʃ"]
    assert (row.target, row.match, row.tied) == ("s", "by-hand", ())
    before = next(r for r in made.rows if r.source == "tʃ")
    assert row.distance != before.distance
    assert back.first_targets()["tʃ"] == "s"


def test_the_other_phone_of_a_tie_is_by_hand(tmp_path):
    source, target = ("pː", "bː"), ("pː", "b")
    made = map_inventory(source, target)
    back = read(tmp_path, edited(made, "bː", "b"), target, source)
    assert back.first_targets() == {"pː": "pː", "bː": "b"}
    assert {r.source: r.match for r in back.rows if r.target == "b"}["bː"] == "by-hand"


def test_columns_of_source_and_target_are_enough(tmp_path):
    back = read(tmp_path, "Source\tTARGET\nai5\ta\ntʃ\tt\ntʃ\ts\ns\ts\n", None)
    assert back.target == ("a", "s", "t")
    assert {(r.source, r.target, r.match) for r in back.rows} == {
        *(("ai5", "a", "by-hand"), ("tʃ", "t", "by-hand"), ("tʃ", "s", "by-hand")),
        ("s", "s", "exact"),
    }
    assert next(r for r in back.rows if r.source == "ai5").distance is None
    assert set(back.unmapped[0]) == set(SOURCE) - {"ai5", "tʃ", "s"}
    assert "8 of 11 phones of the model are left out" in back.notes()[0]


def test_a_row_by_hand_goes_before_what_the_features_say(tmp_path):
    back = read(tmp_path, "source\ttarget\tdistance\tmatch\nx\tk\t0.0417\tnearest\nx\tθ\t\t\n")
    assert back.first_targets()["x"] == "θ"
    mapped_TU = map_posteriors(np.eye(1 + len(SOURCE))[[1 + SOURCE.index("x")]], back)
    assert ("", *TARGET)[mapped_TU[0].argmax()] == "θ"
    assert mapped_TU[0, 1 + TARGET.index("k")] > 0.4


def test_comments_stay(tmp_path, made):
    lines = made.to_tsv().splitlines()
    lines = [f"{lines[0]}\tcomment\twho", f"{lines[1]}\tsure\tMaria", *lines[2:]]
    back = read(tmp_path, "\n".join(lines))
    assert back.rows[0].comment == "sure; Maria"
    assert back.to_tsv().splitlines()[0].endswith("\tcomment")
    assert read(tmp_path, back.to_tsv()).rows == back.rows
    assert back.to_dict()["rows"][0]["comment"] == "sure; Maria"


def test_an_empty_cell_leaves_a_phone_out(tmp_path, made):
    back = read(tmp_path, edited(made, "tʃ", ""))
    assert "tʃ" in back.unmapped[0]
    assert any("tʃ" in note for note in back.notes())
    with pytest.raises(UserError, match="tʃ is left out here, but has a target in another line"):
        read(tmp_path, "source\ttarget\ntʃ\tt\ntʃ\t\n")


def test_other_spellings_of_a_phone_are_understood(tmp_path):
    back = read(
        tmp_path,
        "source\ttarget\nt͡ʃ\tt\ng\tɡ\nɛ̃\tɛ̃\n",
        ("t", "g", "ɛ\u0303"),
        ("tʃ", "ɡ", "ɛ\u0303"),
    )
    assert back.first_targets() == {"tʃ": "t", "ɡ": "ɡ", "ɛ\u0303": "ɛ\u0303"}


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("", TARGET, "source and target"),
        ("phone\tgoes to\na\ta\n", TARGET, r"'phone.*goes to'.*without source and target"),
        ("source\tdistance\na\t0\n", TARGET, "without target"),
        ("source\ttarget\ttarget\na\ta\te\n", TARGET, "column target stands twice"),
        ("source\ttarget\n", TARGET, "no row has a source and a target"),
        ("source\ttarget\na\ta\ns\ts\na\ta\n", TARGET, r"lines 2 and 4 are the same pair, a -> a"),
        ("source\ttarget\na\ta\nʃ\ts\n", TARGET, r"model does not write 'ʃ' \(line 3.*another mod"),
        ("source\ttarget\ntj\ts\n", TARGET, r"'tj' \(line 2, did you mean t"),
        ("source\ttarget\na\tɐ\n", TARGET, r"the language does not have: 'ɐ' \(line 2"),
        ("source\ttarget\na\tɐ\n\tʒ\n", TARGET, r"does not have: 'ɐ' \(line 2\), 'ʒ' \(line 3"),
        ("source\ttarget\na\tS\n", None, r"not IPA: 'S' \(line 2\)\."),
        ("source    target\na    a\n", None, "with tabs between"),
        ("source\ttarget\tmatch\na\ta\n\t\tnearest\n", TARGET, ":3: .*neither"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, text, target, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text, target)


def test_a_file_that_is_no_table_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot read the mapping"):
        Mapping.from_tsv(tmp_path / "absent.tsv", SOURCE)
    (tmp_path / "x.tsv").write_bytes(b"PK\x03\x04\x00\x00xl/workbook")
    with pytest.raises(UserError, match="Excel"):
        Mapping.from_tsv(tmp_path / "x.tsv", SOURCE)


def test_quotes_that_are_part_of_a_phone_survive(tmp_path):
    back = read(tmp_path, 'source\ttarget\nu"\te\n', None)
    assert back.rows[0].source == 'u"'
    again = read(tmp_path, back.to_tsv(), None)
    assert again.rows == back.rows


def test_reading_needs_no_panphon(tmp_path, made):
    (tmp_path / "mapping.tsv").write_text(made.to_tsv(), encoding="utf-8")
    code = (
        "import sys; sys.modules['panphon'] = None\n"
        "from speechx.decoding.mapping import Mapping\n"
        f"m = Mapping.from_tsv({str(tmp_path / 'mapping.tsv')!r}, {SOURCE!r}, {TARGET!r})\n"
        f"m.matrix(); m.notes(); assert len(m.rows) == {len(made.rows)}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
