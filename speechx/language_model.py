"""Language models of words, characters or phones from text.

    model = train_lm(["corpus.txt", "train.jsonl"], "lm.arpa", language="tr")

Text becomes what a model of speech writes: it is normalised as references are. A sentence is a line
of a text or an utterance of a manifest. Of words the tokens have spaces between; of characters the
space is a token; phones come from manifests, from lines of phones, or, with a language, from
ordinary text by G2P.

A language model must not know the sentences of a test set: it would write them whatever was said.
`train_lm` refuses text that holds sentences of the manifests in `exclude`. A model keeps a number
for each sentence of its text, so that `shared_sentences` finds them later, in any manifest.

    H sentences · N n-grams of one order
"""

from __future__ import annotations

import dataclasses
import hashlib
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from speechx.corpora.engine.tables import open_text
from speechx.data.labels import labelled
from speechx.data.manifest import SUFFIXES, Utterance, first_few, read_manifest
from speechx.decoding.kneser_ney import train
from speechx.decoding.ngram import NGram
from speechx.decoding.ngram_file import check_name, write_ngram
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.g2p import g2p
from speechx.text.ipa import problem_with
from speechx.text.normalize import normalize
from speechx.text.unspaced import is_unspaced

Tokens = Literal["words", "characters", "phonemes"]
ORDER = {"words": 4, "characters": 6, "phonemes": 6}
DIVIDED: dict[str, Callable[[str], Sequence[str]]] = {
    "words": str.split,
    "characters": list,
    "phonemes": str.split,
}
LINES = 1000  # that G2P reads at once
SHOWN = 5  # sentences in a message
LONGEST_PHONE = 4  # letters
LONG_WORD = 12  # characters, on the average
NO_TEXTS = (
    ".csv", ".tsv", ".json", ".xml", ".html", ".eaf", ".textgrid", ".srt", ".vtt", ".ctm", ".stm",
    ".yaml",
)  # fmt: skip


class Sentence(NamedTuple):
    modelled: str
    """Its tokens as text: words and phones with spaces between, characters side by side."""
    written: str
    """Its normalised text; empty where only phones are known."""


def train_lm(
    sources: Iterable[str | Path],
    output: str | Path | None = None,
    order: int | None = None,
    tokens: Tokens = "words",
    language: str | None = None,
    exclude: Iterable[str | Path] = (),
    prune: Sequence[int] = (),
    drop_shared: bool = False,
) -> NGram:
    """A language model by modified Kneser-Ney (`speechx.decoding.kneser_ney`), written to `output`.

    sources: texts, plain or gzipped, and manifests. order: by default 4 for words and 6 for others.
    language: of the texts; manifests have their own. exclude: manifests of test data, whose
    sentences are refused, or with `drop_shared` left out and counted. prune: as in `train`.
    UserError for a text that is empty or not of these tokens.
    """
    if tokens not in get_args(Tokens):
        raise UserError(f"tokens are {', '.join(get_args(Tokens))}, not {tokens!r}")
    if output is not None:
        check_name(output)
    test = {number for path in exclude for number in _test_numbers(Path(path))}
    numbers, shared, count = array("q"), Counter[str](), Counter[str]()

    def sentences() -> Iterator[Sequence[str]]:
        for sentence in _sentences([Path(path) for path in sources], tokens, language):
            own = [text_number(text) for text in dict.fromkeys(sentence) if text]
            if not test.isdisjoint(own):
                shared[sentence.written or sentence.modelled] += 1
                continue
            numbers.extend(own)
            divided = DIVIDED[tokens](sentence.modelled)
            count["letters"] += len(sentence.modelled)
            count["tokens"] += len(divided)
            count["sentences"] += 1
            count["unspaced"] += is_unspaced(sentence.modelled)
            yield divided
        if shared and not drop_shared:
            raise _refused(list(shared), f"the text of the language model has {shared.total()}")

    model = train(sentences(), ORDER[tokens] if order is None else order, prune)
    if shared:
        logger.info(f"{shared.total()} sentences of the test data left out ({_few(shared)})")
    length = count["letters"] / count["tokens"]
    if tokens == "words" and (length > LONG_WORD or 2 * count["unspaced"] > count["sentences"]):
        logger.info(
            f"the words have {length:.0f} characters on the average; a language that is written "
            "without spaces needs --tokens characters"
        )
    model = dataclasses.replace(model, sentence_H=np.unique(np.frombuffer(numbers, np.int64)))
    sizes = ", ".join(f"{len(level.token_N):,}" for level in model.levels())
    logger.info(
        f"{count['tokens']:,} {tokens}, {len(model.tokens) - 3:,} different; n-grams of order 1 to "
        f"{model.order}: {sizes}"
    )
    if output is not None:
        write_ngram(output, model)
    return model


def text_number(text: str) -> int:
    """64 bits by which a sentence is known again, on any machine."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def shared_sentences(model: NGram, utterances: Iterable[Utterance]) -> list[str]:
    """The sentences of utterances that the text of the model holds. None are found if the model
    comes from an ARPA file, which does not have them (`model.sentence_H` is empty)."""
    found: dict[str, None] = {}
    known = set(model.sentence_H.tolist())
    for utterance in utterances:
        if not known.isdisjoint(_numbers(utterance)):
            found[utterance.text or " ".join(utterance.phones or ())] = None
    return list(found)


def check_unseen(model: NGram, utterances: Iterable[Utterance]) -> None:
    """UserError, with examples, if the text of the model holds sentences of these utterances."""
    if shared := shared_sentences(model, utterances):
        raise _refused(shared, f"the language model was trained on {len(shared)}")


def _refused(shared: Sequence[str], what: str) -> UserError:
    return UserError(
        f"{what} sentences of the test data ({_few(shared)}), so scores with it would be too good. "
        "Train it without them: --exclude MANIFEST --drop-shared leaves them out."
    )


def _few(texts: Iterable[str]) -> str:
    return first_few([repr(text[:60]) for text in texts])


def _test_numbers(path: Path) -> set[int]:
    found = {number for utterance in read_manifest(path) for number in _numbers(utterance)}
    if not found:
        raise UserError(f"{path}: no utterance has a text or phones that could be excluded")
    return found


def _numbers(utterance: Utterance) -> list[int]:
    """Of its text and of its phones."""
    written = normalize(utterance.text or "", utterance.language)
    texts = (written, " ".join(utterance.phones or ()))
    return [text_number(text) for text in texts if text]


def _sentences(paths: Sequence[Path], tokens: Tokens, language: str | None) -> Iterator[Sentence]:
    """The sentences of all files that are not empty."""
    for path in paths:
        if path.suffix.lower() in SUFFIXES:
            found = _of_manifest(path, tokens)
        elif tokens == "phonemes":
            found = _by_g2p(path, language) if language else _lines_of_phones(path)
        else:
            found = _of_text(path, language or "und")
        empty = 0
        for sentence in found:
            if sentence.modelled:
                yield sentence
            else:
                empty += 1
        if empty:
            logger.info(f"{path}: {empty} sentences without {tokens} left out")


def _of_manifest(path: Path, tokens: Tokens) -> Iterator[Sentence]:
    spoken = tokens == "phonemes"
    for u in labelled(read_manifest(path), "phonemes" if spoken else "characters"):
        written = normalize(u.text or "", u.language)
        yield Sentence(" ".join(u.phones or ()) if spoken else written, written)


def _of_text(path: Path, language: str) -> Iterator[Sentence]:
    for line in _lines(path):
        written = normalize(line, language)
        yield Sentence(written, written)


def _by_g2p(path: Path, language: str) -> Iterator[Sentence]:
    lines = _lines(path)
    unread: Counter[str] = Counter()
    while some := list(islice(lines, LINES)):
        result = g2p(some, language)
        unread.update(problem.why for problem in result.unread if problem)
        for line, phones in zip(some, result.phones, strict=True):
            yield Sentence(" ".join(phones), normalize(line, language))
    for why, count in unread.items():
        logger.info(f"{path}: {count} lines have no phones, {why}")


def _lines_of_phones(path: Path) -> Iterator[Sentence]:
    """Lines of phones; between words | may stand, which is left out."""
    phones: set[str] = set()
    for line in _lines(path):
        found = [phone for phone in line.split() if phone != "|"]
        phones.update(found)
        yield Sentence(" ".join(found), "")
    strange = sorted(phone for phone in phones if _no_phone(phone))
    if 2 * len(strange) > len(phones):
        raise UserError(
            f"{path}: {len(strange)} of {len(phones)} symbols are no phones ({_few(strange)}). "
            "Lines of phones with spaces between were expected; for ordinary text give --language."
        )
    if strange:
        logger.info(f"{path}: {len(strange)} symbols are not IPA ({_few(strange)})")


def _no_phone(symbol: str) -> bool:
    letters = sum(unicodedata.category(c) in ("Ll", "Lo", "Lu") for c in symbol)
    return letters > LONGEST_PHONE or problem_with(symbol) is not None


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text that are not empty."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; a text or a manifest was expected")
    if path.suffix.lower() in NO_TEXTS:
        raise UserError(
            f"{path} is no plain text, so its ids, times or tags would be modelled. "
            "Save its sentences in a .txt file, one a line, or make a manifest: `speechx data "
            "prepare`."
        )
    with open_text(path) as file:
        yield from (line for line in file if line.strip())
