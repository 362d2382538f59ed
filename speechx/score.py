"""`speechx score`: error rates of one text against another, whatever wrote it.

    speechx score test.jsonl hyp.txt --metric wer,cer -o scores.json

The texts go through the same preparation as in `speechx evaluate`, so the numbers of both may be
compared. `speechx.corpora.transcripts` has the formats.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from speechx.corpora.transcripts import TextEntry, read_pair
from speechx.data.manifest import first_few
from speechx.decoding.feature_errors import FeatureScore, feature_score
from speechx.decoding.phone_details import PhoneDetails, phone_details
from speechx.decoding.preparation import policy_of, prepare, words_of
from speechx.decoding.scoring import Score, Scored, characters, score, speaker_table, words
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.languages import language_code
from speechx.whole_file import require_writable, write_json, write_whole

METRICS = ("wer", "cer", "per", "prism")
UNKNOWN = "und"  # language of a text whose language is not given
MOST_LETTERS = 2  # of a phone, on average; an affricate or a diphthong has two
LETTERS = ("Ll", "Lu", "Lo")  # categories of Unicode
AnyScore: TypeAlias = Score | FeatureScore


@dataclass(frozen=True, slots=True)
class TextScores:
    """Scores by metric, the headline first; `missing` are ids without a hypothesis, which count as
    deletions, and `unscored` ids without a reference, which are left out."""

    scores: dict[str, AnyScore]
    details: PhoneDetails | None = None
    missing: list[str] = field(default_factory=list)
    unscored: list[str] = field(default_factory=list)
    compared: dict[str, list[Scored]] = field(default_factory=dict)
    """The tokens of both sides by metric; those of the metric `prism` are phones."""

    def table(self, details: bool = False) -> str:
        """All tables; with `details` also a row for each speaker and the confused phones."""
        parts = [each.table() for each in self.scores.values()]
        if self.details is not None:
            parts.append(self.details.table())
        if details:
            parts += [speaker_table(s) for s in self.scores.values() if isinstance(s, Score)]
            if self.details is not None:
                parts.append(self.details.confusions.table())
        return "\n\n".join(filter(None, parts))

    def to_dict(self) -> dict[str, Any]:
        """The headline, and everything else by name, as JSON types."""
        headline = next(iter(self.scores.values()))
        each = {name: result.to_dict() for name, result in self.scores.items()}
        more = {} if self.details is None else {"details": self.details.to_dict()}
        lists = {"missing": self.missing, "unscored": self.unscored}
        return {**lists, **headline.to_dict(), "scores": each, **more}


def score_files(
    reference: Path,
    hypothesis: Path,
    metrics: Sequence[str] = (),
    language: str | None = None,
    as_given: bool = False,
    allow_missing: bool = False,
    format: str = "auto",
    out: Path | None = None,
    page: Path | None = None,
    resamples: int = 1000,
) -> TextScores:
    """Scores the transcripts in `hypothesis` against those in `reference`; writes JSON to `out` and
    an HTML page to `page`.

    `metrics` are by default `per` where both sides have phones, else `cer` and `wer`. `language` is
    that of references that name none. With `as_given` nothing is done to the texts. An id that only
    one side has is an error unless `allow_missing`.
    """
    if strange := [metric for metric in metrics if metric not in METRICS]:
        raise UserError(f"no metric {', '.join(strange)}: expected {', '.join(METRICS)}")
    for file in filter(None, (out, page)):
        require_writable(file)
    ref, hyp = read_pair(reference, hypothesis, format)
    ref = _labelled(ref, reference)
    missing, unscored = _compare_ids(ref, hyp, reference, hypothesis, allow_missing)
    named = None if language is None else language_code(language)
    pairs = _Pairs(ref, hyp, named, as_given)
    chosen = list(dict.fromkeys(metrics)) or (["per"] if pairs.have_phones else ["cer", "wer"])
    scores: dict[str, AnyScore] = {}
    compared: dict[str, list[Scored]] = {}
    details = None
    for metric in chosen:
        some = compared[metric] = pairs.tokens(metric)
        how = pairs.prepared(metric)
        if metric == "prism":
            scores[metric] = feature_score(some, "prism", resamples=resamples)
            continue
        scores[metric] = score(some, metric, prepared=how, resamples=resamples)
        if metric == "per":
            details = phone_details(some, pairs.tokens("prism"), how, resamples)
    result = TextScores(scores, details, missing, unscored, compared)
    if out is not None:
        about = {"reference": str(reference), "hypothesis": str(hypothesis)}
        write_json(out, {**about, **result.to_dict()})
    if page is not None:
        from speechx.score_page import score_page

        audio = {(pairs.language_of(entry), entry.id): entry.utterance for entry in ref}
        title = f"{hypothesis} against {reference}"
        write_whole(page, score_page(title, scores, compared[chosen[0]], audio, details))
    return result


def _labelled(ref: Sequence[TextEntry], reference: Path) -> list[TextEntry]:
    """The references that have text or phones; the others are logged."""
    without = [entry.id for entry in ref if entry.text is None and entry.phones is None]
    if len(without) == len(ref):
        raise UserError(f"{reference}: no utterance has text or phones")
    if without:
        logger.info(
            f"{len(without)} of {len(ref)} references have neither text nor phones and are left "
            f"out ({first_few(without)})"
        )
    return [entry for entry in ref if entry.text is not None or entry.phones is not None]


def _compare_ids(
    ref: Sequence[TextEntry],
    hyp: Sequence[TextEntry],
    reference: Path,
    hypothesis: Path,
    allow: bool,
) -> tuple[list[str], list[str]]:
    """Ids without a hypothesis, and ids without a reference."""
    wanted, written = [entry.id for entry in ref], {entry.id for entry in hyp}
    missing = [id for id in wanted if id not in written]
    unscored = sorted(written.difference(wanted))
    if len(missing) == len(wanted):
        raise UserError(
            f"{reference} and {hypothesis} share no id: they begin with {wanted[0]!r} and "
            f"{hyp[0].id!r}"
        )
    found = []
    if missing:
        found.append(f"{hypothesis} lacks {len(missing)} of {len(wanted)} ({first_few(missing)})")
    if unscored:
        found.append(f"{reference} lacks {len(unscored)} of the other side's"
                     f" ({first_few(unscored)})")  # fmt: skip
    if found and not allow:
        raise UserError(
            f"ids differ: {'; '.join(found)}. With --allow-missing an utterance without a "
            "hypothesis counts as deletions, and one without a reference is left out"
        )
    if found:
        logger.info(
            f"ids differ: {'; '.join(found)}; what has no hypothesis counts as deletions, what has "
            "no reference is left out"
        )
    return missing, unscored


class _Pairs:
    """References and hypotheses of one id, as tokens."""

    def __init__(
        self,
        ref: Sequence[TextEntry],
        hyp: Sequence[TextEntry],
        language: str | None,
        as_given: bool,
    ) -> None:
        written = {entry.id: entry for entry in hyp}
        self.as_given, self.language = as_given, language
        self.pairs = [(entry, written.get(entry.id)) for entry in ref]
        self.have_phones = all(
            wanted.phones is not None
            and (wanted.text is None or written is None or written.phones is not None)
            for wanted, written in self.pairs
        )
        """Whether phones are to be compared."""

    def language_of(self, entry: TextEntry) -> str:
        return entry.language or self.language or UNKNOWN

    def prepared(self, metric: str) -> str:
        """What is done to both sides, in words."""
        if self.as_given:
            return "as given"
        known = [entry.utterance for entry, _ in self.pairs if entry.utterance]
        return policy_of("phonemes" if metric == "per" else "characters", known)

    def tokens(self, metric: str) -> list[Scored]:
        """Both sides as the metric compares them; for `prism` phones as they are given."""
        if metric in ("per", "prism"):
            self._check_phones(metric)
        return [
            Scored(
                wanted.id,
                self.language_of(wanted),
                wanted.speaker,
                self._tokens(wanted, metric, self.language_of(wanted)),
                self._tokens(written, metric, self.language_of(wanted)) if written else [],
            )
            for wanted, written in self.pairs
        ]

    def _tokens(self, entry: TextEntry, metric: str, language: str) -> list[str]:
        if metric in ("per", "prism"):
            phones = entry.phones if entry.phones is not None else (entry.text or "").split()
            keep = metric == "prism" or self.as_given
            return list(phones) if keep else prepare(phones, "phonemes", language)
        text = self._text(entry)
        if self.as_given:
            return words(text) if metric == "wer" else characters(text)
        tokens = prepare([text], "characters", language)
        return words_of(tokens) if metric == "wer" else tokens

    def _text(self, entry: TextEntry) -> str:
        if entry.text is None:
            raise UserError(
                f"{entry.id} has phones and no text: words and characters cannot be scored; give "
                "--metric per"
            )
        return entry.text

    def _check_phones(self, metric: str) -> None:
        """Words, and phones without spaces, are no list of phones."""
        if metric == "prism":
            return
        for side in zip(*self.pairs, strict=True):
            tokens = [
                p for entry in side if entry for p in entry.phones or (entry.text or "").split()
            ]
            letters = [sum(unicodedata.category(c) in LETTERS for c in token) for token in tokens]
            if sum(letters) > MOST_LETTERS * len(tokens):
                longest = tokens[letters.index(max(letters))]
                raise UserError(
                    f"phones must have spaces between them, but {longest!r} and others are longer "
                    "than phones; --metric prism scores phones without spaces, wer and cer score "
                    "words and characters"
                )
