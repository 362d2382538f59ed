"""ARPA files: what is written is read again; files of other programs; files that are broken."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from speechx.decoding.arpa import read_arpa, write_arpa
from speechx.decoding.kneser_ney import train
from speechx.decoding.ngram import BEGIN, END, UNKNOWN
from speechx.decoding.ngram_file import check_name, read_ngram, write_ngram
from speechx.errors import UserError
from tests.decoding.test_kneser_ney import probability, random_sentences

GOOD = """\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-2\t<unk>
-99\t<s>\t-0.5
-1\t</s>
-0.7\ta\t-0.25
-0.8\tb\t-0.125

\\2-grams:
-0.1\t<s> a\t-0.0625
-0.2\ta b
-0.3\tb </s>

\\3-grams:
-0.05\t<s> a b

\\end\\
"""


@pytest.fixture
def read(tmp_path):
    def read(text, name="lm.arpa"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_arpa(path)

    return read


def log10(model, context, token):
    return np.log10(np.maximum(probability(model, context, token), 1e-300))


def test_the_numbers_of_a_file(read):
    model = read(GOOD)
    assert model.order == 3
    assert log10(model, [BEGIN], "a") == pytest.approx(-0.1)
    assert log10(model, [BEGIN, "a"], "b") == pytest.approx(-0.05)
    assert log10(model, [BEGIN, "a"], END) == pytest.approx(-0.0625 - 0.25 - 1)
    assert log10(model, ["b"], "a") == pytest.approx(-0.125 - 0.7)
    assert log10(model, ["b"], "c") == pytest.approx(-0.125 - 2)


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz", "lm.safetensors"])
def test_what_is_written_is_read_again(tmp_path, name):
    sentences = random_sentences(1, 100)
    model = train(sentences, 4, (0, 0, 0, 1))
    write_ngram(tmp_path / name, model)
    again = read_ngram(tmp_path / name)
    assert sorted(again.tokens) == sorted(model.tokens)
    assert again.order == model.order
    assert len(again.backoff_S) == len(model.backoff_S)
    ours, theirs = model.perplexity(sentences), again.perplexity(sentences)
    assert theirs.overall == pytest.approx(ours.overall, rel=1e-6)
    write_ngram(tmp_path / f"again-{name}", model)
    assert (tmp_path / f"again-{name}").read_bytes() == (tmp_path / name).read_bytes()


def test_the_space_of_characters_is_a_bar(tmp_path, read):
    model = train([list("ab cd"), list("é f")], 3)
    write_arpa(tmp_path / "lm.arpa", model)
    lines = (tmp_path / "lm.arpa").read_text(encoding="utf-8").splitlines()
    assert any(line.split("\t")[1:2] == ["|"] for line in lines)
    again = read_arpa(tmp_path / "lm.arpa")
    assert " " in again.tokens
    assert "|" not in again.tokens
    assert probability(again, ["b"], " ") == pytest.approx(probability(model, ["b"], " "))
    assert (
        " "
        in read(
            GOOD.replace("\tb", "\t<space>").replace(" b", " <space>").replace("b ", "<space> ")
        ).tokens
    )


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\t", " "),
        GOOD.replace("\n", "\r\n"),
        "made by a program\nthe text has 3 words\n\n" + GOOD,
        "\ufeff" + GOOD,
        GOOD.replace("\n\n", "\n\n\n"),
        GOOD.replace("ngram 1=5", "ngram  1 = 5"),
        GOOD.replace("\\end\\\n", ""),
        GOOD.replace("<unk>", "<UNK>"),
        GOOD.replace("-99\t<s>", "0\t<s>"),
        GOOD.replace("a b\n", "a b\t0\n"),
        GOOD + "what follows is not read\n",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_other_spellings_of_the_same_file(read, text):
    model = read(text)
    assert log10(model, [BEGIN, "a"], "b") == pytest.approx(-0.05)
    assert log10(model, [], "nowhere") == pytest.approx(-2)
    assert log10(model, ["a"], "b") == pytest.approx(-0.2)


def test_contexts_that_are_not_listed(read):
    """Pruned files may list a trigram without its bigrams."""
    text = GOOD.replace("ngram 2=3", "ngram 2=1").replace("-0.1\t<s> a\t-0.0625\n-0.2\ta b\n", "")
    model = read(text)
    assert log10(model, [BEGIN], "a") == pytest.approx(-0.5 - 0.7)
    assert log10(model, [BEGIN, "a"], "b") == pytest.approx(-0.05)
    assert log10(model, [BEGIN, "a"], "a") == pytest.approx(-0.25 - 0.7)


def test_equals_the_definition_whatever_is_listed(read, tmp_path):
    """Of a file of which half of the n-grams were taken out at random."""
    random = np.random.default_rng(0)
    write_arpa(tmp_path / "full.arpa", train(random_sentences(5, 150), 4))
    listed, kept, order = {}, [], 0
    for line in (tmp_path / "full.arpa").read_text(encoding="utf-8").splitlines():
        order += line.startswith("\\") and line.endswith("-grams:")
        cells = line.split("\t")
        if len(cells) > 1 and (order == 1 or random.random() < 0.5):
            listed[tuple(cells[1].split())] = float(cells[0]), float([*cells, "0"][2])
        elif len(cells) > 1:
            continue
        kept.append(line)
    for n in range(1, 5):
        count = sum(len(gram) == n for gram in listed)
        at = next(i for i, line in enumerate(kept) if line.startswith(f"ngram {n}="))
        kept[at] = f"ngram {n}={count}"
    model = read("\n".join(kept))

    def defined(context, token):
        if (*context, token) in listed:
            return listed[(*context, token)][0]
        return listed.get(context, (0, 0))[1] + defined(context[1:], token)

    for _ in range(300):
        context = tuple(random.choice([*"abcdefgh"], random.integers(0, 5)))
        token = random.choice([*"abcdefgh", END])
        assert log10(model, context, token) == pytest.approx(defined(context[-3:], token), abs=1e-5)


def test_an_order_without_ngrams(read):
    text = GOOD.replace("ngram 3=1", "ngram 3=0").replace("-0.05\t<s> a b\n", "")
    assert read(text).order == 2
    assert read(text.replace("\\3-grams:\n", "")).order == 2


def test_special_tokens_that_are_missing(read, caplog):
    text = GOOD.replace("ngram 1=5", "ngram 1=4").replace("-2\t<unk>\n", "")
    with caplog.at_level("INFO", "speechx"):
        model = read(text)
    assert log10(model, [], "nowhere") < -30
    assert UNKNOWN in model.tokens
    assert any("<unk>" in record.message for record in caplog.records)


def test_minus_infinity_is_a_very_small_probability(read):
    model = read(GOOD.replace("-0.8\tb\t-0.125", "-inf\tb\t-0.125"))
    assert np.isfinite(model.score_A).all()
    assert log10(model, [], "b") < -30


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (GOOD.replace("ngram 2=3", "ngram 2=4"), "5, 4, 1.*5, 3, 1"),
        (GOOD.replace("ngram 1=5", "ngram 1=4"), "4, 3, 1.*5, 3, 1"),
        (GOOD.replace("ngram 2=3\nngram 3=1", "ngram 3=1\nngram 2=3"), "ngram 3=1.*2-grams"),
        (GOOD[: GOOD.index("-0.3")], "cut off"),
        (GOOD[: GOOD.index("\\1-grams")], "cut off"),
        (GOOD.replace("\\2-grams", "\\4-grams"), r":13: .*\\2-grams"),
        (GOOD.replace("\\3-grams:", "\\end\\"), "5, 3, 1"),
        (GOOD.replace("-0.2\ta b", "nan\ta b"), ":15: .*nan is not a number"),
        (GOOD.replace("-0.2\ta b", "-0,2\ta b"), ":15: .*-0,2 is not a number"),
        (GOOD.replace("-0.2\ta b", "0.2\ta b"), ":15: .*0 or less"),
        (GOOD.replace("-0.2\ta b", "-0.2\ta c"), ":15: .*1-grams: c"),
        (GOOD.replace("-0.2\ta b", "-0.2\ta"), ":15: .*2 tokens"),
        (GOOD.replace("-0.2\ta b", "-0.2\ta b a b"), ":15: .*2 tokens"),
        (GOOD.replace("-0.2\ta b", "-0.1\t<s> a"), "'<s> a' is listed twice"),
        (GOOD.replace("-0.8\tb", "-0.8\ta"), "'a' is listed twice"),
        ("\\data\\\nngram 1=0\n\n\\1-grams:\n\n\\end\\\n", "no 1-grams"),
        ("words of a text\n", "not an ARPA file"),
        ("", "not an ARPA file"),
        (b"\x00\x01\x02" * 100, "not an ARPA file"),
        (GOOD.encode().replace(b"b", b"\xe9"), "UTF-8"),
        (gzip.compress(GOOD.encode())[:-20], "not a complete gzip file"),
    ],
)
def test_broken_files_are_refused_by_line(read, wrong, said):
    with pytest.raises(UserError, match=f"(?s)lm.arpa.*{said}"):
        read(wrong)


def test_names_and_files_of_other_kinds(tmp_path):
    for name in ("lm.txt", "lm.bin", "lm"):
        with pytest.raises(UserError, match=name):
            check_name(tmp_path / name)
    with pytest.raises(UserError, match="absent"):
        read_ngram(tmp_path / "absent.arpa")
