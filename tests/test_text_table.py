"""Tables stay aligned in every script."""

from speechx.text_table import text_table, width


def test_columns_line_up_for_wide_characters_and_combining_marks():
    table = text_table([("language", "hours"), ("日本語", "1"), ("e\u0301we", "12.5")])
    lines = table.split("\n")
    assert [width(line) for line in lines] == [15, 15, 15]
    assert lines[2].endswith("   12.5")


def test_a_short_row_and_a_left_column():
    assert text_table([("a", "b", "long"), ("x",), ("", "1", "2")], left=(2,)) == (
        "a  b  long\nx\n   1  2"
    )
