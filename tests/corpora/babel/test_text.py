"""Every tag of a BABEL transcript has one written fate, and none becomes a word by accident."""

import os
import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechx.corpora.babel.text import SegmentText, TextPolicy, read_segments, read_text
from speechx.corpora.engine.problems import Problem

DEFAULT = TextPolicy()
HEARD = "(()) <foreign> <prompt> <overlap> <hes> <lipsmack> <limspack> <breath> <cough> <laugh>"
NOT_HEARD = "<click> <ring> <dtmf> <int> <no-speech> <sta> <male-to-female> <female-to-male> ~"


@pytest.mark.parametrize("tag", [*HEARD.split(), *NOT_HEARD.split()])
def test_no_tag_of_babel_leaves_text_or_is_strange(tag: str) -> None:
    for transcript in (f"one {tag} two", f"one{tag}two" if tag != "~" else "one ~ two"):
        reading = read_text(transcript, DEFAULT)
        assert (reading.text, reading.strange) == ("one two", ())
    alone = read_text(tag, DEFAULT)
    assert alone.text == ""
    assert alone.speech == (tag in HEARD)


@pytest.mark.parametrize(
    ("choice", "transcript", "text"),
    [
        ({}, "uh <hes> no", "uh no"),
        ({"hesitations": "keep"}, "uh <hes> no", "uh hes no"),
        ({"hesitations": "unknown"}, "uh <hes> no", "uh no"),
        ({"hesitations": "unknown", "unknown": "drop-utterance"}, "uh <hes> no", ""),
        ({"unknown": "drop-utterance"}, "uh <hes> no", "uh no"),
        ({}, "one (()) two", "one two"),
        ({}, "one ((  )) ((two)) three", "one three"),
        ({"unknown": "drop-utterance"}, "one (()) two", ""),
        ({}, "wor- -ord wo~ ~rd a-b", "wor ord wo rd a-b"),
        ({"fragments": "drop"}, "wor- -ord wo~ ~rd a-b", "a-b"),
        ({"fragments": "unknown"}, "wor- a-b", "a-b"),
        ({"fragments": "unknown", "unknown": "drop-utterance"}, "wor- a-b", ""),
        ({}, "*teh* cat *do", "teh cat do"),
        ({"mispronunciations": "drop"}, "*teh* cat *do", "cat"),
        ({"mispronunciations": "unknown", "unknown": "drop-utterance"}, "*teh* cat", ""),
        ({"fragments": "drop"}, "*teh-* cat", "cat"),
        ({}, "i_b_m ice_cream", "ibm icecream"),
        ({"underscores": "split"}, "i_b_m ice_cream", "i b m ice cream"),
        ({}, "- * _ -- one", "one"),
        ({}, "喂 啊 <no-speech> 听-", "喂 啊 听"),
    ],
)
def test_each_choice_of_the_policy(choice: dict, transcript: str, text: str) -> None:
    assert read_text(transcript, TextPolicy(**choice)).text == text


def test_unknown_tags_are_listed_and_never_words() -> None:
    reading = read_text("one <bark> two<Sneeze> <FOREIGN> < three", DEFAULT)
    assert reading.strange == ("<bark>", "<Sneeze>", "<")
    assert reading.text == "one two three"
    assert read_text("one <bark>", TextPolicy(unknown="drop-utterance")).text == ""


def test_behind_an_unknown_tag_there_may_be_speech() -> None:
    assert read_text("<bark>", DEFAULT) == SegmentText("", True, ("<bark>",))
    assert not read_text("<no-speech> <click>", DEFAULT).speech


@pytest.mark.parametrize(
    ("transcript", "text", "strange"),
    [
        ("((unclosed word", "word", "((unclosed"),
        ("one ( ()) two", "one two", "( ())"),
        ("(()) (word)", "", "(word)"),
        ("((())) one", "one", "( )"),
        ("one)) a(())b", "a b", "one))"),
        ("wo-. one", "one", "wo-."),
        ('wo--rd one-"', "", 'wo--rd one-"'),
        ("a*b c~d <foo bar> <>", "", "a*b c~d <foo bar> <>"),
        ("a_-b wor-_ one", "one", "a_-b wor-_"),
        ("it's a-b -ord. রা-রা", "it's a-b ord. রা-রা", ""),
    ],
)
def test_marks_that_cannot_be_read_are_listed_and_never_text(
    transcript: str, text: str, strange: str
) -> None:
    assert read_text(transcript, DEFAULT) == SegmentText(text, True, tuple(strange.split()))
    if strange:
        assert read_text(transcript, TextPolicy(unknown="drop-utterance")).text == ""


def test_a_policy_as_text_has_all_its_choices() -> None:
    assert str(DEFAULT) == (
        "babel: hesitations=drop unknown=drop fragments=strip mispronunciations=strip "
        "underscores=join"
    )
    every = product(("drop", "keep"), ("drop", "drop-utterance"), ("strip", "drop"))
    assert len({str(TextPolicy(*choices)) for choices in every}) == 8  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(alphabet="ab<>()-*~_ é\t", max_size=40))
def test_any_text_is_read(transcript: str) -> None:
    reading = read_text(transcript, DEFAULT)
    assert reading.text == " ".join(reading.text.split())
    assert not set(reading.strange) & set(reading.text.split())
    assert not set("()<>*~") & set(reading.text)
    assert not any(word.strip("-") != word for word in reading.text.split())


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.txt"
    path.write_bytes(text.encode())
    return path


def test_text_lasts_until_the_next_time(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufeff[0.000]\r\n<no-speech>\r\n[1.25]\r\nsaid  here\r\non two lines\r\n"
        "[2]\r\n[2]\r\n[3.5]\r\n\r\n",
    )
    assert read_segments(path) == [
        (0.0, 1.25, "<no-speech>"),
        (1.25, 2.0, "said  here on two lines"),
        (2.0, 2.0, ""),
        (2.0, 3.5, ""),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[2.0]\na\n[1.0]\n", r"t.txt:3: the segment ends at 1 s, before its start at 2 s"),
        ("[0.0]\na\n[1,5]\nb\n[2.0]\n", r"t.txt:3: \[1,5\] is no time"),
        ("a\n[1.0]\n", r"t.txt:1: a line \[seconds\] was expected"),
        ("[0.0]\na\n[1.0]\nb\n", r"ends with text"),
    ],
)
def test_impossible_transcripts_are_named(tmp_path: Path, text: str, said: str) -> None:
    problem = read_segments(write(tmp_path, text))
    assert isinstance(problem, Problem)
    assert re.search(said, f"{problem.where}: {problem.why}")


def test_other_text_than_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("[0.0]\né\n[1.0]\n".encode("latin-1"))
    problem = read_segments(tmp_path / "t.txt")
    assert isinstance(problem, Problem)
    assert problem.where == str(tmp_path / "t.txt")
    assert "not UTF-8" in problem.why


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    for name, why in (("pipe", "not a file"), ("folder", "not a file"), ("absent", "cannot be")):
        problem = read_segments(tmp_path / f"{name}.txt")
        assert isinstance(problem, Problem)
        assert problem.where == str(tmp_path / f"{name}.txt")
        assert why in problem.why


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["[0.5]", "[1]", "[2.25]", "word", "<hes>", "", "[x]"])))
def test_any_lines_are_read_or_named(tmp_path_factory: pytest.TempPathFactory, lines: list) -> None:
    path = write(tmp_path_factory.mktemp("t"), "\n".join(lines))
    segments = read_segments(path)
    if isinstance(segments, Problem):
        assert segments.where.startswith(str(path))
    else:
        assert all(start <= end for start, end, _ in segments)
