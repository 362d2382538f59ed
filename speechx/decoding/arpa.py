"""N-gram models as ARPA files, plain or gzipped: what SRILM, KenLM and others read and write.

A file has the logarithms to base 10. Accepted too are text before `\\data\\`, spaces for tabs,
`<UNK>` for <unk>, a missing `\\end\\`, and contexts that are not listed. A missing <unk> or </s>
gets the probability 10^-100, as in KenLM. The space of a model of characters is written as |, as in
fairseq and Hugging Face; <space> is read too.

    N n-grams of one order · O tokens of each · A arcs · S states of the model
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, cast

import numpy as np

from speechx.decoding.ngram import BEGIN, END, SPECIAL, UNKNOWN, Level, NGram
from speechx.errors import UserError
from speechx.log import logger
from speechx.whole_file import whole_file

LINES = 20_000  # that are read or written at once
GZIP = b"\x1f\x8b"
NEVER = -99.0  # to base 10: of <s>, and of a probability of 0
MISSING = -100.0  # of a special token that is missing
SPACE, SPACES = "|", (b"|", b"<space>")
OTHER_CASE = {b"<UNK>": UNKNOWN, b"<S>": BEGIN, b"</S>": END}
COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)")


def read_arpa(path: Path) -> NGram:
    """The model of a file. UserError with the line for what is against the format."""
    id_of: dict[bytes, int] = {}
    parts: defaultdict[int, list[_Part]] = defaultdict(list)
    try:
        with _opened(path) as file:
            lines = _Lines(path, file)
            counts = _header(lines)
            for order, first, some in _sections(lines, len(counts)):
                parts[order].append(_parse(lines, first, some, order, id_of))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not a complete gzip file ({error}); copy it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read the language model: {error.strerror}") from None
    found = [sum(len(part.score_N) for part in parts[n + 1]) for n in range(len(counts))]
    if found != counts:
        why = "correct the numbers, or make the file again"
        if not lines.ended:
            why = "and there is no \\end\\: the file is cut off, copy it again"
        raise UserError(
            f"{path}: the numbers below \\data\\ are {_listed(counts)}, but there are "
            f"{_listed(found)} n-grams; {why}"
        )
    if not id_of:
        raise UserError(f"{path} has no 1-grams; make the language model again")
    if not lines.ended:
        logger.info(f"{path} has all its n-grams, but no \\end\\")
    whole = (_Part(*map(np.hstack, zip(*each, strict=True))) for each in parts.values() if each)
    return _model(path, id_of, [part for part in whole if len(part.score_N)])


def write_arpa(path: Path, model: NGram) -> None:
    """Writes a file, gzipped if its name ends in .gz. Seven digits are kept."""
    levels = model.levels()
    words = [SPACE if token == " " else token for token in model.tokens]
    with whole_file(path) as new, new.open("wb") as plain:
        packed = gzip.GzipFile("", "wb", 5, plain, mtime=0) if path.suffix == ".gz" else None
        with io.TextIOWrapper(cast(BinaryIO, packed or plain), "utf-8", newline="\n") as file:
            file.write("\\data\\\n")
            file.writelines(f"ngram {n}={len(x.token_N)}\n" for n, x in enumerate(levels, 1))
            for n in range(1, len(levels) + 1):
                file.write(f"\n\\{n}-grams:\n")
                for first in range(0, len(levels[n - 1].token_N), LINES):
                    file.writelines(_lines(levels[:n], first, words, n < len(levels)))
            file.write("\n\\end\\\n")


def _lines(levels: list[Level], first: int, words: list[str], backoffs: bool) -> Iterator[str]:
    """Lines for the n-grams of the last of these levels, from the `first`."""
    some = slice(first, first + LINES)
    score_N = np.maximum(levels[-1].score_N[some].astype(float) / np.log(10), NEVER).tolist()
    backoff_N = (levels[-1].backoff_N[some].astype(float) / np.log(10)).tolist()
    place_N, columns = np.arange(*some.indices(len(levels[-1].token_N))), []
    for level in reversed(levels):
        columns.append([words[token] for token in level.token_N[place_N].tolist()])
        place_N = level.context_N[place_N]
    grams = map(" ".join, zip(*reversed(columns), strict=True))
    if backoffs:
        for score, gram, backoff in zip(score_N, grams, backoff_N, strict=True):
            yield f"{score:.7g}\t{gram}\t{backoff:.7g}\n"
    else:
        for score, gram in zip(score_N, grams, strict=True):
            yield f"{score:.7g}\t{gram}\n"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        if file.peek(2)[:2] != GZIP:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as packed:
            yield io.BufferedReader(cast(io.RawIOBase, packed), 1 << 20)


class _Part(NamedTuple):
    """Some of the n-grams of one order, in the order of the file. Logarithms to base 10."""

    score_N: np.ndarray
    token_ON: np.ndarray
    backoff_N: np.ndarray


class _Lines:
    """The lines of a file, many at once; knows where it is."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.number = 0
        """Of the first line of those that were given last."""
        self.given = 0
        self.ended = False

    def take(self, count: int) -> list[bytes]:
        """The next lines; none at the end."""
        self.number += self.given
        lines = list(islice(self.file, count))
        self.given = len(lines)
        return lines

    def fail(self, row: int, line: bytes, why: str) -> NoReturn:
        """A line is wrong, `row` lines behind the first of those given last."""
        shown = line.strip()[:60].decode(errors="replace")
        raise UserError(f"{self.path}:{self.number + row + 1}: {shown!r}: {why}")


def _header(lines: _Lines) -> list[int]:
    """How many n-grams there are of each order, from the lines before the first of them."""
    counts: list[int] = []
    begun = False
    while some := lines.take(1):
        line = some[0].strip()
        if not begun:
            begun = line.removeprefix(b"\xef\xbb\xbf") == b"\\data\\"
        elif found := COUNT.fullmatch(line):
            counts.append(int(found[2]))
            if int(found[1]) != len(counts):
                lines.fail(0, line, f"the number of {len(counts)}-grams was expected")
        elif line == b"\\1-grams:" and counts:
            return counts
        elif line:
            lines.fail(0, line, "`ngram 1=...` or `\\1-grams:` was expected")
    what = "has no n-grams: it is cut off; copy it again" if begun else "is not an ARPA file"
    raise UserError(f"{lines.path} {what}" + ("" if begun else ": it has no line \\data\\"))


def _sections(lines: _Lines, orders: int) -> Iterator[tuple[int, int, list[bytes]]]:
    """The orders, and lines of theirs with the place of the first among those given last."""
    order = 1
    while some := lines.take(LINES):
        marks = [row for row, line in enumerate(some) if line[:1] == b"\\"]
        for first, mark in zip([0, *(m + 1 for m in marks)], [*marks, len(some)], strict=True):
            yield order, first, some[first:mark]
            if mark == len(some):
                break
            line = some[mark].strip()
            if line == b"\\end\\":
                lines.ended = True
                return
            order += 1
            if line != b"\\%d-grams:" % order or order > orders:
                wanted = "\\end\\" if order > orders else f"\\{order}-grams:"
                lines.fail(mark, line, f"{wanted} was expected")


def _parse(
    lines: _Lines, first: int, some: list[bytes], order: int, id_of: dict[bytes, int]
) -> _Part:
    """The n-grams of some lines; unigrams are added to `id_of`."""
    rows = [*filter(None, map(bytes.split, some))]
    if not rows:
        return _Part(np.zeros(0), np.zeros((order, 0), np.int32), np.zeros(0))
    try:
        widths = set(map(len, rows))
        if not widths <= {order + 1, order + 2}:
            raise ValueError
        if len(widths) > 1:
            rows = [row if len(row) > order + 1 else [*row, b"0"] for row in rows]
        columns = list(zip(*rows, strict=True))
        score_N = np.array(columns[0]).astype(float)
        backoff_N = np.zeros(len(rows))
        if len(columns) > order + 1:
            backoff_N = np.array(columns[-1]).astype(float)
        if np.isnan(score_N).any() or np.isnan(backoff_N).any() or (score_N > 0).any():
            raise ValueError
        if order == 1:
            for token in columns[1]:
                if token in id_of:
                    raise UserError(f"{lines.path}: the 1-gram {_name(token)!r} is listed twice")
                id_of[token] = len(id_of)
        ids = [
            np.fromiter(map(id_of.__getitem__, column), np.int32, len(rows))
            for column in columns[1 : order + 1]
        ]
    except (ValueError, KeyError):
        for row, line in enumerate(some, start=first):
            if line.strip() and (why := _why_not(line.split(), order, id_of)):
                lines.fail(row, line, why)
        raise
    return _Part(np.maximum(score_N, NEVER), np.stack(ids), np.clip(backoff_N, NEVER, -NEVER))


def _why_not(row: list[bytes], order: int, id_of: dict[bytes, int]) -> str:
    """What is wrong with the cells of a line; empty if nothing is."""
    if not order + 1 <= len(row) <= order + 2:
        tokens = "a token" if order == 1 else f"{order} tokens"
        return f"a logarithm, {tokens} and perhaps a back-off weight were expected"
    for cell in (row[0], *row[order + 1 :]):
        try:
            if np.isnan(float(cell)):
                raise ValueError
        except ValueError:
            return f"{_name(cell)} is not a number"
    if float(row[0]) > 0:
        return "the logarithm of a probability is 0 or less"
    unknown = [_name(token) for token in row[1 : order + 1] if token not in id_of]
    return f"not among the 1-grams: {', '.join(unknown)}" if unknown else ""


def _name(cell: bytes) -> str:
    return cell.decode(errors="replace")


def _listed(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts)) or "none"


def _model(path: Path, id_of: dict[bytes, int], parts: list[_Part]) -> NGram:
    tokens = _tokens(path, id_of)
    if missing := [token for token in SPECIAL if token not in tokens]:
        tokens += missing
        parts[0] = _Part(
            np.append(parts[0].score_N, [MISSING] * len(missing)),
            np.arange(len(tokens))[None],
            np.append(parts[0].backoff_N, [0] * len(missing)),
        )
        logger.info(f"{path} lacks {', '.join(missing)}: a probability of 10^{MISSING:g} is used")
    parts[0].score_N[tokens.index(BEGIN)] = NEVER
    model = NGram.of(tokens, _levels(path, tokens, parts))
    while len(left := np.flatnonzero(np.isnan(model.score_A))):  # contexts that were not listed
        state_N = np.searchsorted(model.first_S, left, side="right") - 1
        score_N, _ = model.score(model.fallback_S[state_N], model.token_A[left])
        model.score_A[left] = model.backoff_S[state_N] + score_N
    return model


def _tokens(path: Path, id_of: dict[bytes, int]) -> list[str]:
    """The tokens by id; special ones and the space as `NGram` has them."""
    renamed = {b: a for b, a in OTHER_CASE.items() if a.encode() not in id_of}
    if space := next((token for token in SPACES if token in id_of), None):
        renamed[space] = " "
    try:
        return [renamed.get(token) or token.decode() for token in id_of]
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: the token {_name(error.object)!r} is not UTF-8; convert the file with iconv"
        ) from None


def _levels(path: Path, tokens: list[str], parts: list[_Part]) -> list[Level]:
    """The n-grams sorted, with contexts that were not listed, whose score is not a number yet."""
    size = len(tokens)
    nothing_N = np.zeros(size, np.int64)
    levels = [Level(nothing_N, np.arange(size), parts[0].score_N, parts[0].backoff_N)]
    place = [part.token_ON[0].astype(np.int64) for part in parts]  # of the first n tokens
    for n in range(1, len(parts)):
        keys = [place[m] * size + parts[m].token_ON[n] for m in range(n, len(parts))]
        order_N = np.argsort(keys[0])
        own_N = keys[0][order_N]
        if (twice := np.flatnonzero(own_N[1:] == own_N[:-1])).size:
            words = [tokens[i] for i in parts[n].token_ON[:, order_N[twice[0]]]]
            raise UserError(f"{path}: the {n + 1}-gram {' '.join(words)!r} is listed twice")
        absent_N = np.setdiff1d(np.concatenate(keys[1:]), own_N) if keys[1:] else own_N[:0]
        key_N = np.concatenate((own_N, absent_N))
        score_N = np.append(parts[n].score_N[order_N], np.full(len(absent_N), np.nan))
        backoff_N = np.append(parts[n].backoff_N[order_N], np.zeros(len(absent_N)))
        sorted_N = np.argsort(key_N, kind="stable")
        key_N = key_N[sorted_N]
        context_N, token_N = np.divmod(key_N, size)
        levels.append(Level(context_N, token_N, score_N[sorted_N], backoff_N[sorted_N]))
        place[n:] = [np.searchsorted(key_N, each) for each in keys]
    base = np.log(10)
    return [x._replace(score_N=x.score_N * base, backoff_N=x.backoff_N * base) for x in levels]
