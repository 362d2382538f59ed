"""Praat's TextGrid, long or short, as tokens with their places, so that a label can be replaced and
nothing else moves.

Praat reads quoted texts, numbers and flags that stand between spaces, and skips every other word
and what follows `!`; so does this reader, which is why one rule serves both formats.
"""

import codecs
import re
from typing import NamedTuple

from speechx.log import logger
from speechx.text_encoding import encoding_of
from speechx.transcription.annotation.sheet import AnnotationTier, EmptySegment, Sheet, Texts

TOKEN = re.compile(r'"(?P<text>[^"]*(?:""[^"]*)*)"|![^\r\n]*|[^\s"!]+|"')
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
MARKS = (
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class _Label(NamedTuple):
    text: str
    at: int
    """Where the text begins, behind its quote."""
    until: int


class _Number(NamedTuple):
    value: float
    at: int


def read(data: bytes) -> Sheet:
    """A ValueError names what is wrong with the file."""
    text, encoding = _decoded(data)
    if '"TextGrid"' not in text:
        raise ValueError("it is no TextGrid in a text format; save it in Praat as a text file")
    tiers = _Tokens(text).tiers()

    def with_texts(texts: Texts) -> bytes:
        parts, at = [], 0
        for place in sorted(texts, key=lambda place: place.at):
            parts += [text[at : place.at], texts[place].replace('"', '""')]
            at = place.until
        whole = "".join([*parts, text[at:]])
        try:
            return whole.encode(encoding)
        except UnicodeEncodeError:
            logger.info("the texts have letters that Latin-1 lacks, so the TextGrid becomes UTF-8")
            return whole.encode()

    return Sheet(tiers, (), with_texts)


def _decoded(data: bytes) -> tuple[str, str]:
    """The text, with its byte order mark, and the encoding that gives the same bytes again."""
    guess = encoding_of(data[:4096])
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), guess)
    encoding = "utf-8" if encoding == "utf-8-sig" else encoding
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise ValueError(
                f"the file is {encoding[:6].upper()}, and cut off or damaged"
            ) from None
    return data.decode("latin-1"), "latin-1"  # what Praat wrote before it wrote Unicode


class _Tokens:
    """Texts and numbers, in the order in which Praat expects them."""

    def __init__(self, text: str) -> None:
        self.text, self.matches = text, TOKEN.finditer(text)

    def tiers(self) -> tuple[AnnotationTier, ...]:
        self.label(), self.label(), self.number(), self.number()  # kind of file, its time
        return tuple(self.tier() for _ in range(self.count()))

    def tier(self) -> AnnotationTier:
        kind, name = self.label(), self.label().text
        if kind.text not in ("IntervalTier", "TextTier"):
            raise self.error(kind.at, "IntervalTier or TextTier was expected")
        self.number(), self.number()
        empty = []
        for _ in range(self.count()):
            start = self.number()
            end = self.number() if kind.text == "IntervalTier" else start
            label = self.label()
            if kind.text == "IntervalTier" and not label.text.strip():
                empty.append(EmptySegment(start, end, label.at, label.until))
        return AnnotationTier(name, tuple(empty), points=kind.text == "TextTier")

    def label(self) -> _Label:
        token = self.next()
        if isinstance(token, _Number):
            raise self.error(token.at, "a text in quotes was expected")
        return token

    def number(self) -> float:
        token = self.next()
        if isinstance(token, _Label):
            raise self.error(token.at, "a number was expected")
        return token.value

    def count(self) -> int:
        return int(self.number())

    def next(self) -> _Label | _Number:
        for match in self.matches:
            if match["text"] is not None:
                return _Label(match["text"].replace('""', '"'), *match.span("text"))
            if match[0] == '"':
                raise self.error(match.start(), "the closing quote of this text is missing")
            if NUMBER.fullmatch(match[0]):
                return _Number(float(match[0]), match.start())
        raise self.error(len(self.text), "the file ends too early")

    def error(self, at: int, why: str) -> ValueError:
        line = len(re.findall(r"\r\n|\n|\r", self.text[:at])) + 1
        return ValueError(f"line {line}: {why}; correct it, or save the file again in Praat")
