"""Error rates that name themselves.

The same outputs have several error rates: edits summed over the corpus, the mean over utterances,
the mean over languages. All three are given here, each under its own name; the headline is

    rate = sum of edits / sum of reference tokens          (corpus-level)

with its substitutions, insertions and deletions, a bootstrap interval and a policy in words.
Two scores may be compared when their policies are equal.

    utterances = [
        Scored("1", "es", None, words("a b c"), words("a x c")),
        Scored("2", "it", None, words("d e"), words("d e f")),
    ]
    score(utterances, "wer").overall.rate  # 2/5

    N scored utterances · U clusters of the bootstrap
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from speechx.errors import UserError
from speechx.text_table import text_table
from speechx.wording import percent, percent_range

WORST = 10  # utterances listed in a score

_TOKENS = {
    "wer": "words, split at white space",
    "cer": "characters (Unicode code points) of the stripped text, inner spaces count, as in jiwer",
    "per": "phone tokens, no word boundaries",
}
_AVERAGES = (
    "corpus-level (all edits / all reference tokens); "
    "an empty reference adds its insertions and no tokens"
)


@dataclass(frozen=True, slots=True)
class Scored:
    """An utterance whose reference is known, and what was decoded of it. Decodings of one utterance
    under several conditions share its id."""

    id: str
    language: str
    speaker: str | None
    reference: Sequence[str]
    hypothesis: Sequence[str]


@dataclass(frozen=True, slots=True)
class Rate:
    """An error rate and what it was made of. `rate`, `low` and `high` are fractions.

    `low` and `high` bound the 95 % percentile bootstrap over `resampled` ("12 speakers").
    """

    edits: int
    tokens: int
    substitutions: int
    insertions: int
    deletions: int
    rate: float
    low: float
    high: float
    utterances: int
    resampled: str


@dataclass(frozen=True, slots=True)
class SpeakerRate:
    """The error rate of one speaker; `rate` is None if the references have no tokens."""

    edits: int
    tokens: int
    rate: float | None
    utterances: int


@dataclass(frozen=True, slots=True)
class Worst:
    """One scored utterance, tokens joined for reading."""

    id: str
    language: str
    edits: int
    tokens: int
    reference: str
    hypothesis: str


@dataclass(frozen=True, slots=True)
class Score:
    """`macro` is the mean of the languages' rates. `utterance_mean` is the mean of the utterances'
    own rates, where an utterance with an empty reference counts one token."""

    metric: str
    policy: str
    overall: Rate
    macro: float
    utterance_mean: float
    languages: dict[str, Rate]
    worst: list[Worst]
    speakers: dict[str, dict[str, SpeakerRate]] = field(default_factory=dict)
    """By language, then by name, of utterances that name their speaker."""

    def to_dict(self) -> dict[str, Any]:
        """The same, as JSON types."""
        return asdict(self)

    @property
    def error(self) -> float:
        """Selects `best`: lower is better."""
        return self.overall.rate

    def table(self) -> str:
        """Aligned plain text: a row per language, then the averages and the policy."""
        head = [self.metric.upper(), "rate", "95 % interval", "edits", "tokens", "sub", "ins"]
        rows = [[*head, "del", "utterances", "resampled"]]
        rows += [_row(language, rate) for language, rate in self.languages.items()]
        rows.append(_row("overall", self.overall))
        rows.append(["language mean", percent(self.macro)])
        rows.append(["utterance mean", percent(self.utterance_mean)])
        return f"{text_table(rows)}\n{self.policy}"


def ranked_speakers(score: Score) -> list[tuple[str, str, SpeakerRate]]:
    """Language, name and rate of each speaker, the worst first."""
    speakers = [
        (language, name, each)
        for language, some in score.speakers.items()
        for name, each in some.items()
    ]
    return sorted(speakers, key=lambda row: (-(row[2].rate or 0.0), row[:2]))


def speaker_table(score: Score) -> str:
    """Aligned plain text: a row per speaker, the worst first; empty if no speaker is known."""
    speakers = ranked_speakers(score)
    rows = [["language", "speaker", score.metric.upper(), "edits", "tokens", "utterances"]]
    for language, name, each in speakers:
        rate = "" if each.rate is None else percent(each.rate)
        numbers = [str(number) for number in (each.edits, each.tokens, each.utterances)]
        rows.append([language, name, rate, *numbers])
    return text_table(rows, left=(0, 1)) if speakers else ""


def words(text: str) -> list[str]:
    """The tokens of WER."""
    return text.split()


def characters(text: str) -> list[str]:
    """The tokens of CER: jiwer's, so inner spaces are tokens and outer ones are not."""
    return list(text.strip())


def score(
    utterances: Sequence[Scored],
    metric: str,
    *,
    prepared: str = "as given",
    resamples: int = 1000,
    seed: int = 0,
) -> Score:
    """Scores tokens against tokens; `metric` ("wer", "cer" or "per") names the tokens.

    `prepared` describes what was done to references and hypotheses before; it is part of the
    policy. Edits and tokens of utterances with one language and id are summed, and the bootstrap
    keeps them together.

    The bootstrap draws speakers where all utterances of a group name theirs and there are at least
    two, else utterances. Raises UserError where a rate would be undefined.
    """
    if metric not in _TOKENS:
        raise ValueError(f"metric must be one of {', '.join(_TOKENS)}, but is {metric!r}")
    for u in utterances:
        if isinstance(u.reference, str) or isinstance(u.hypothesis, str):
            raise ValueError(
                "references and hypotheses must be lists of tokens: use words(text) or "
                "characters(text)"
            )
    check_references(utterances)
    counts_N4 = _count_edits(utterances)  # substitutions insertions deletions tokens

    def rate(chosen: Sequence[int]) -> Rate:
        return _rate(counts_N4[chosen], [utterances[n] for n in chosen], resamples, seed)

    by_language = {
        language: rate([n for n, u in enumerate(utterances) if u.language == language])
        for language in sorted({u.language for u in utterances})
    }
    edits_N, tokens_N = counts_N4[:, :3].sum(1), counts_N4[:, 3]
    rate_N = edits_N / np.maximum(tokens_N, 1)
    joint = "" if metric == "cer" else " "
    everything = range(len(utterances))
    worst = sorted(everything, key=lambda n: (-rate_N[n], -edits_N[n], utterances[n].id))[:WORST]
    return Score(
        metric=metric,
        policy=(
            f"{metric.upper()}: {_TOKENS[metric]}; prepared: {prepared}; {_AVERAGES}; "
            f"interval: 95 % percentile bootstrap, {resamples} draws of speakers if known, "
            f"else of utterances, seed {seed}"
        ),
        overall=rate(everything),
        macro=float(np.mean([each.rate for each in by_language.values()])),
        utterance_mean=float(rate_N.mean()),
        languages=by_language,
        worst=[
            Worst(
                id=utterances[n].id,
                language=utterances[n].language,
                edits=int(edits_N[n]),
                tokens=int(tokens_N[n]),
                reference=joint.join(utterances[n].reference),
                hypothesis=joint.join(utterances[n].hypothesis),
            )
            for n in worst
            if edits_N[n]
        ],
        speakers=_by_speaker(counts_N4, utterances),
    )


def check_references(utterances: Sequence[Scored]) -> None:
    """Refuses, before anything is decoded, what cannot be scored: a language without any token."""
    if not utterances:
        raise UserError("There is nothing to score: no utterance was given.")
    tokens = dict.fromkeys((u.language for u in utterances), 0)
    for u in utterances:
        tokens[u.language] += len(u.reference)
    silent = sorted(language for language, number in tokens.items() if number == 0)
    if silent:
        raise UserError(
            f"All references of {', '.join(silent)} are empty, so no error rate is defined there; "
            "give transcripts, or leave those utterances out of the manifest."
        )


def alignments(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[list[Any]]:
    """jiwer's chunks of an alignment with the fewest edits, for each pair of token lists."""
    import jiwer

    def as_given(sentences: Any) -> list[list[str]]:  # tokens already; jiwer would split strings
        return [list(sentence) for sentence in sentences]

    transform: Any = as_given
    reference: Any = references
    hypothesis: Any = hypotheses
    return jiwer.process_words(
        reference, hypothesis, reference_transform=transform, hypothesis_transform=transform
    ).alignments


def _count_edits(utterances: Sequence[Scored]) -> np.ndarray:
    """(N, 4): substitutions, insertions, deletions and reference tokens of every utterance."""
    chunks_of = alignments([u.reference for u in utterances], [u.hypothesis for u in utterances])
    kinds = ("substitute", "insert", "delete")
    counts_N4 = np.zeros((len(utterances), 4), dtype=np.int64)
    for n, chunks in enumerate(chunks_of):
        for chunk in chunks:
            if chunk.type in kinds:
                replaced = chunk.ref_end_idx - chunk.ref_start_idx
                written = chunk.hyp_end_idx - chunk.hyp_start_idx
                counts_N4[n, kinds.index(chunk.type)] += max(replaced, written)
        counts_N4[n, 3] = len(utterances[n].reference)
    return counts_N4


def _rate(counts_N4: np.ndarray, utterances: Sequence[Scored], resamples: int, seed: int) -> Rate:
    """The rate of one group of utterances, with its interval."""
    substitutions, insertions, deletions, tokens = (int(total) for total in counts_N4.sum(0))
    edits = substitutions + insertions + deletions
    low, high, resampled = interval(
        counts_N4[:, :3].sum(1), counts_N4[:, 3], utterances, resamples, seed
    )
    return Rate(
        edits=edits,
        tokens=tokens,
        substitutions=substitutions,
        insertions=insertions,
        deletions=deletions,
        rate=edits / tokens,
        low=low,
        high=high,
        utterances=len({(u.language, u.id) for u in utterances}),
        resampled=resampled,
    )


def _by_speaker(
    counts_N4: np.ndarray, utterances: Sequence[Scored]
) -> dict[str, dict[str, SpeakerRate]]:
    numbers: dict[tuple[str, str], list[int]] = {}
    for n, u in enumerate(utterances):
        if u.speaker:
            numbers.setdefault((u.language, u.speaker), []).append(n)
    found: dict[str, dict[str, SpeakerRate]] = {}
    for (language, speaker), own in sorted(numbers.items()):
        edits, tokens = int(counts_N4[own, :3].sum()), int(counts_N4[own, 3].sum())
        rate = edits / tokens if tokens else None
        ids = {utterances[n].id for n in own}
        found.setdefault(language, {})[speaker] = SpeakerRate(edits, tokens, rate, len(ids))
    return found


def interval(
    errors_N: np.ndarray,
    tokens_N: np.ndarray,
    utterances: Sequence[Scored],
    resamples: int,
    seed: int,
) -> tuple[float, float, str]:
    """The ends of the 95 % bootstrap interval of sum(errors)/sum(tokens), as fractions, and what
    was drawn ("12 speakers")."""
    # A speaker belongs to a language: two corpora may both have a reader "1".
    speakers = [(u.language, u.speaker) if u.speaker else None for u in utterances]
    by_speaker = None not in speakers and len(set(speakers)) > 1
    names: Sequence[Any] = speakers if by_speaker else [(u.language, u.id) for u in utterances]
    clusters = {name: u for u, name in enumerate(dict.fromkeys(names))}
    cluster_N = np.array([clusters[name] for name in names])
    errors_U = np.bincount(cluster_N, weights=errors_N)
    tokens_U = np.bincount(cluster_N, weights=tokens_N)
    low, high = _interval(errors_U, tokens_U, resamples, seed)
    return low, high, f"{len(clusters)} {'speakers' if by_speaker else 'utterances'}"


def _interval(
    edits_U: np.ndarray, tokens_U: np.ndarray, resamples: int, seed: int
) -> tuple[float, float]:
    """95 % percentile bootstrap of sum(edits)/sum(tokens) over clusters drawn with replacement.

    A draw of empty references alone has no rate and is drawn again.
    """
    generator = np.random.default_rng(seed)
    rates: list[float] = []
    while len(rates) < resamples:
        drawn = generator.integers(len(edits_U), size=len(edits_U))
        tokens = tokens_U[drawn].sum()
        if tokens > 0:
            rates.append(float(edits_U[drawn].sum() / tokens))
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


def _row(name: str, rate: Rate) -> list[str]:
    interval = percent_range(rate.low, rate.high)
    counts = (rate.edits, rate.tokens, rate.substitutions, rate.insertions, rate.deletions)
    numbers = [str(count) for count in (*counts, rate.utterances)]
    return [name, percent(rate.rate), interval, *numbers, rate.resampled]
