"""Test data, and what a model writes of them, beside the references: what every evaluation does."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from speechx.corpora.kaldi import is_kaldi, utterances_of
from speechx.data.labels import tokens_of
from speechx.data.manifest import Utterance, read_manifest
from speechx.decoding.decoder import Decoder, TokenSpan
from speechx.decoding.preparation import prepare, words_of
from speechx.decoding.scoring import Scored, check_references
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.vocabulary import TokenType
from speechx.training.progress import Progress
from speechx.transcription.recognizer import Recognizer
from speechx.wording import number_of


def read_test_data(manifests: Sequence[Path]) -> list[Utterance]:
    """The utterances of all manifests and Kaldi data directories; where two have one id, their
    manifests tell them apart."""
    if len({path.resolve() for path in map(Path, manifests)}) < len(manifests):
        raise UserError("a manifest is given twice")
    for path in map(Path, manifests):
        if path.is_dir() and not is_kaldi(path):
            raise UserError(
                f"{path}: neither a manifest nor a Kaldi data directory; name a manifest in it, or "
                "a folder with a wav.scp"
            )
    listed = [
        (path, u)
        for path in manifests
        for u in (utterances_of(path) if Path(path).is_dir() else read_manifest(path))
    ]
    times = Counter((u.language, u.id) for _, u in listed)
    return [
        replace(u, id=f"{path}:{u.id}") if times[u.language, u.id] > 1 else u for path, u in listed
    ]


def references_of(utterances: Sequence[Utterance], token_type: TokenType) -> list[Scored]:
    """The utterances with their references, prepared for comparison, and empty hypotheses.
    UserError, before anything is decoded, if a language has no reference tokens."""
    references = [
        replace(u, reference=prepare(u.reference, token_type, u.language))
        for u in unprepared(utterances, [()] * len(utterances), token_type)
    ]
    check_references(references)
    return references


def decode_all(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    decoders: Sequence[Decoder],
    show_progress: bool,
    failed: list[str] | None = None,
) -> tuple[list[list[tuple[str, ...]]], list[list[TokenSpan]]]:
    """For each decoder the tokens of each utterance, or its words if the decoder has a lexicon; and
    the spans of the first decoder. Recordings that cannot be read have no tokens, and the reasons
    are added to `failed`; without `failed` they are an error."""
    tokens: list[list[tuple[str, ...]]] = [[() for _ in utterances] for _ in decoders]
    first: list[list[TokenSpan]] = [[] for _ in utterances]
    progress = Progress("evaluate", None, len(utterances), 0, silent=not show_progress)
    unread: dict[int, str] | None = None if failed is None else {}
    outputs = recognizer.decode(utterances, decoders, unread)
    for done, (index, of_decoders) in enumerate(outputs, start=1):
        first[index] = of_decoders[0]
        for each, spans in zip(tokens, of_decoders, strict=True):
            words = tuple(span.word for span in spans if span.word is not None)
            each[index] = words or tuple(span.token for span in spans)
        progress.advance(done, utterances[index].duration)
    progress.report({"hours": sum(u.duration for u in utterances) / 3600})
    progress.close()
    if failed is not None and unread:
        messages = [f"{utterances[n].id}: {why}" for n, why in sorted(unread.items())]
        if len(unread) == len(utterances):
            raise UserError(f"none of the recordings can be read; {messages[0]}")
        new = [message for message in messages if message not in failed]  # not decoded before
        failed += new
        for message in new:
            logger.info(f"speechx: {message}")
        logger.info(
            f"{len(unread)} of {number_of(len(utterances), 'utterance')} cannot be read; scored as "
            "if the model had written nothing"
        )
    return tokens, first


def with_hypotheses(
    references: Sequence[Scored], tokens: Sequence[Sequence[str]], token_type: TokenType
) -> list[Scored]:
    """The references with the tokens that were written, prepared for comparison."""
    return [
        replace(u, hypothesis=prepare(written, token_type, u.language))
        for u, written in zip(references, tokens, strict=True)
    ]


def with_texts(utterances: Sequence[Utterance], words: Sequence[Sequence[str]]) -> list[Scored]:
    """The utterances that have texts, with the words that a lexicon made, as characters."""
    texts = [each for each in zip(utterances, words, strict=True) if each[0].text]
    if not texts:
        return []
    spelled = [list(" ".join(written)) for _, written in texts]
    references = references_of([utterance for utterance, _ in texts], "characters")
    return with_hypotheses(references, spelled, "characters")


def unprepared(
    utterances: Sequence[Utterance], tokens: Sequence[Sequence[str]], token_type: TokenType
) -> list[Scored]:
    """The references and the tokens that were written, without any preparation."""
    return [
        Scored(u.id, u.language, u.speaker, tokens_of(u, token_type), written)
        for u, written in zip(utterances, tokens, strict=True)
    ]


def by_word(utterances: Sequence[Scored]) -> list[Scored]:
    """Prepared characters as the words that they make."""
    return [
        replace(u, reference=words_of(u.reference), hypothesis=words_of(u.hypothesis))
        for u in utterances
    ]
