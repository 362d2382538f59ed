"""Language models of words, characters or phones from text.

    model = train_lm(["corpus.txt", "train.jsonl"], "lm.arpa", language="tr")

Text is normalised as references are, so its tokens are tokens that a speech model writes. A
sentence is a line of a text or an utterance of a manifest. In a model of characters the space is a
token; phones come from manifests, from lines of phones, or, with a language, from ordinary text by
G2P.

A language model must not be trained on test sentences: they become likely whatever was spoken.
`train_lm` refuses text that has sentences of the manifests in `exclude`, also as a long part of a
line. A model keeps a hash of each sentence of its text, so that `shared_sentences` finds test
sentences later. Spaces, case, punctuation and the spelling of IPA make no other sentence.

    H sentences · N n-grams of one order
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
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
from speechx.decoding.kenlm_file import KenlmModel
from speechx.decoding.kneser_ney import train
from speechx.decoding.ngram import NGram
from speechx.decoding.ngram_file import check_name, write_ngram
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.g2p import g2p
from speechx.text.ipa import normalize_ipa, problem_with
from speechx.text.normalize import normalize
from speechx.text.unspaced import is_unspaced
from speechx.whole_file import require_writable

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
LONG_SENTENCE = 18  # characters; one of a script without spaces counts three times
UNKNOWN = "und"  # language of a text whose language is not given
ENDS = re.compile("[.!?…؟।።]+[\"'”’»)\\]]*\\s+|[。！？]+[」』”’]*")
"""Of sentences within a line."""
NO_TEXTS = (
    ".csv", ".tsv", ".json", ".xml", ".html", ".eaf", ".textgrid", ".srt", ".vtt", ".ctm", ".stm",
    ".yaml",
)  # fmt: skip


class Sentence(NamedTuple):
    tokens: str
    """Words or phones with spaces between, or characters."""
    text: str
    """The normalised text; empty if only phones are known."""
    parts: tuple[str, ...] = ()
    """The long sentences of a line that has several, normalised."""


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

    sources: texts, plain or gzipped, and manifests. order: length of the longest n-grams, by
    default 4 for words and 6 for others. language: of the texts; manifests have their own. exclude:
    manifests of dev and test data, whose sentences are an error, or with `drop_shared` left out and
    counted. prune: as in `kneser_ney.train`. UserError for a text that is empty or does not have
    these tokens.
    """
    if tokens not in get_args(Tokens):
        raise UserError(f"tokens must be one of {', '.join(get_args(Tokens))}, not {tokens!r}")
    if output is not None:
        check_name(output)
        require_writable(Path(output))  # before the training, which may take long
    one_spelling = normalize_ipa if tokens == "phonemes" else str
    test = {each for path in exclude for each in _test_hashes(Path(path))}
    hashes, shared, count = array("q"), Counter[str](), Counter[str]()

    def sentences() -> Iterator[Sequence[str]]:
        for sentence in _sentences([Path(path) for path in sources], tokens, language):
            own = _hashes_of(one_spelling(sentence.tokens), sentence.text, *sentence.parts)
            if not test.isdisjoint(own):
                shared[sentence.text or sentence.tokens] += 1
                continue
            hashes.extend(own)
            divided = DIVIDED[tokens](sentence.tokens)
            count["characters"] += len(sentence.tokens)
            count["tokens"] += len(divided)
            count["sentences"] += 1
            count["unspaced"] += is_unspaced(sentence.tokens)
            yield divided
        if shared and not drop_shared:
            raise _refused(list(shared), f"the text of the language model has {shared.total()}")
        if shared and not count["tokens"]:
            raise UserError(
                f"all {shared.total()} sentences of the text are sentences of the test data "
                f"({_few(shared)}), and none is left for a language model: give other text"
            )

    model = train(sentences(), ORDER[tokens] if order is None else order, prune)
    if shared:
        logger.info(f"{shared.total()} sentences of the test data left out ({_few(shared)})")
    length = count["characters"] / count["tokens"]
    if tokens == "words" and (length > LONG_WORD or 2 * count["unspaced"] > count["sentences"]):
        logger.info(
            f"words have {length:.0f} characters on average; a language that is written "
            "without spaces needs --tokens characters"
        )
    model = dataclasses.replace(model, sentence_H=np.unique(np.frombuffer(hashes, np.int64)))
    sizes = ", ".join(f"{len(level.token_N):,}" for level in model.levels())
    logger.info(
        f"{count['tokens']:,} {tokens}, {len(model.tokens) - 3:,} different; n-grams of order 1 to "
        f"{model.order}: {sizes}"
    )
    if output is not None:
        write_ngram(output, model)
    return model


def text_hash(text: str) -> int:
    """64 bits that identify a normalised sentence, the same on any machine."""
    same = "".join(text.split()).replace("i\u0307", "i").replace("ı", "i")
    digest = hashlib.blake2b(same.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def shared_sentences(model: NGram | KenlmModel, utterances: Iterable[Utterance]) -> list[str]:
    """The sentences of utterances that the model was trained on. None are found if the model comes
    from a file of another program, which has no hashes of sentences (`model.has_sentences`)."""
    found: dict[str, None] = {}
    known = set(model.sentence_H.tolist())
    for utterance in utterances:
        if not known.isdisjoint(_hashes(utterance)):
            found[utterance.text or " ".join(utterance.phones or ())] = None
    return list(found)


def check_unseen(
    model: NGram | KenlmModel, utterances: Iterable[Utterance], data: str = "test data"
) -> None:
    """UserError, with examples, if the text of the model holds sentences of these utterances;
    `data` is the name of the utterances in the message."""
    if shared := shared_sentences(model, utterances):
        raise _refused(shared, f"the language model was trained on {len(shared)}", data)


def _refused(shared: Sequence[str], what: str, data: str = "test data") -> UserError:
    return UserError(
        f"{what} sentences of the {data} ({_few(shared)}), so scores with it would be too good. "
        "Train it without them: --exclude MANIFEST --drop-shared leaves them out."
    )


def _few(texts: Iterable[str]) -> str:
    return first_few([repr(text[:60]) for text in texts])


def _test_hashes(path: Path) -> set[int]:
    found = {each for utterance in read_manifest(path) for each in _hashes(utterance)}
    if not found:
        raise UserError(f"{path}: no utterance has a text or phones that could be excluded")
    return found


def _hashes(utterance: Utterance) -> set[int]:
    """The hashes of its text, normalised with and without its language, and of its phones."""
    text = utterance.text or ""
    written = [
        each
        for language in (utterance.language, UNKNOWN)
        for each in (normalize(text, language), *_parts(text, language))
    ]
    return _hashes_of(normalize_ipa(" ".join(utterance.phones or ())), *written)


def _hashes_of(*texts: str) -> set[int]:
    return {text_hash(text) for text in dict.fromkeys(texts) if text}


def _parts(text: str, language: str) -> tuple[str, ...]:
    """The long sentences of a text that has several, normalised."""
    pieces = ENDS.split(text.strip())
    if len(pieces) == 1:
        return ()
    return tuple(part for piece in pieces if _is_long(part := normalize(piece, language)))


def _is_long(text: str) -> bool:
    return len(text) + 2 * sum(map(is_unspaced, text)) >= LONG_SENTENCE


def _sentences(paths: Sequence[Path], tokens: Tokens, language: str | None) -> Iterator[Sentence]:
    """The sentences of all files; empty ones are left out and counted."""
    for path in paths:
        if path.suffix.lower() in SUFFIXES:
            found = _of_manifest(path, tokens)
        elif tokens == "phonemes":
            found = _by_g2p(path, language) if language else _lines_of_phones(path)
        else:
            found = _of_text(path, language or UNKNOWN)
        empty = 0
        for sentence in found:
            if sentence.tokens:
                yield sentence
            else:
                empty += 1
        if empty:
            logger.info(f"{path}: {empty} sentences without {tokens} left out")


def _of_manifest(path: Path, tokens: Tokens) -> Iterator[Sentence]:
    spoken = tokens == "phonemes"
    for u in labelled(read_manifest(path), "phonemes" if spoken else "characters"):
        written = normalize(u.text or "", u.language)
        modelled = " ".join(u.phones or ()) if spoken else written
        yield Sentence(modelled, written, _parts(u.text or "", u.language))


def _of_text(path: Path, language: str) -> Iterator[Sentence]:
    for line in _lines(path):
        written = normalize(line, language)
        yield Sentence(written, written, _parts(line, language))


def _by_g2p(path: Path, language: str) -> Iterator[Sentence]:
    lines = _lines(path)
    unread: Counter[str] = Counter()
    while some := list(islice(lines, LINES)):
        result = g2p(some, language)
        unread.update(problem.why for problem in result.unread if problem)
        for line, phones in zip(some, result.phones, strict=True):
            written = normalize(line, language)
            yield Sentence(" ".join(phones), written, _parts(line, language))
    for why, count in unread.items():
        logger.info(f"{path}: {count} lines have no phones, {why}")


def _lines_of_phones(path: Path) -> Iterator[Sentence]:
    """Lines of phones; | between words is left out."""
    phones: set[str] = set()
    for line in _lines(path):
        found = [phone for phone in line.split() if phone != "|"]
        phones.update(found)
        yield Sentence(" ".join(found), "")
    strange = sorted(phone for phone in phones if _no_phone(phone))
    if 2 * len(strange) > len(phones):
        raise UserError(
            f"{path}: {len(strange)} of {len(phones)} symbols are not phones ({_few(strange)}). "
            "Expected lines of phones with spaces between; for ordinary text give --language."
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
