"""What is wrong with labels: empty texts, too many for the frames, a pace unlike other utterances.

The pace of an utterance is its characters (of the normalised text; phones if it has no text) per
second. It is compared within a language on a log scale, by the median and the median absolute
deviation, which a few bad utterances do not change.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechx.audio.files import SAMPLE_RATE
from speechx.data.labels import frames_needed
from speechx.data.manifest import Utterance, read_manifest
from speechx.doctor.characters import CharacterChecks, printable
from speechx.doctor.checks import PACE_DEVIATIONS, PACE_FACTOR, PACE_UTTERANCES, Case
from speechx.doctor.manifests import for_evaluation
from speechx.errors import UserError
from speechx.text.ipa import normalize_ipa
from speechx.text.normalize import normalize
from speechx.text.vocabulary import TokenType, Vocabulary, load_vocabularies

FIELD, STRIDE = 400, 320  # samples, of all wav2vec 2.0 models: a frame every 20 ms
PACE_SECONDS = 0.5  # shorter utterances are mostly pause


@dataclass(frozen=True, slots=True)
class Target:
    """What the labels must fit: a model, or the usual frames and no vocabulary."""

    frames: Callable[[int], int]
    token_type: TokenType | None = None
    vocabulary: frozenset[str] | None = None
    name: str = "the usual 20 ms frames (no --model given)"

    @classmethod
    def of(cls, model: Path | None, vocabulary: Path | None) -> Target:
        """The frames of a model folder, and its vocabulary or that of `vocabulary`: another model
        folder, a vocabulary.json, or a manifest."""
        target = cls(usual_frames)
        if model is not None:
            from speechx.interchange.opening import open_model

            saved = open_model(model, ("quantizer", "mask_embedding"))
            spells, frames = _tokens(saved.vocabularies), saved.encoder.features.frames
            target = cls(frames, *spells, f"the frames of {model}")
        if vocabulary is None:
            return target
        return cls(target.frames, *_read_vocabulary(vocabulary), target.name)


def usual_frames(samples: int) -> int:
    """Frames of the convolutions of wav2vec 2.0: the receptive field first, then one a stride."""
    return max(0, (samples - FIELD) // STRIDE + 1)


def _tokens(
    vocabularies: Mapping[str, Vocabulary],
) -> tuple[TokenType | None, frozenset[str] | None]:
    """Token type and tokens of the first head that is not a language head."""
    for vocabulary in vocabularies.values():
        if vocabulary.token_type != "languages":
            return vocabulary.token_type, frozenset(vocabulary.tokens)
    return None, None


def _read_vocabulary(path: Path) -> tuple[TokenType | None, frozenset[str] | None]:
    file = path / "vocabulary.json" if path.is_dir() else path
    if file.suffix == ".json":
        return _tokens(load_vocabularies(file))
    utterances = read_manifest(file)
    tokens = {c for u in utterances if u.text for c in normalize(u.text, u.language)}
    tokens |= {p for u in utterances for p in u.phones or ()}
    if not tokens:
        raise UserError(f"--vocabulary {path}: no utterance of this manifest has a text or phones")
    return None, frozenset(tokens)


class TextChecks:
    """Reads utterances one by one; results that need all of them come at the end."""

    def __init__(self, target: Target, listed: Collection[str] = ()) -> None:
        """Checks of characters are about a language; those `listed` name each utterance too."""
        if "unknown_token" in listed and target.vocabulary is None:
            raise UserError("--exclude unknown_token needs --vocabulary or --model")
        self.target, self.listed = target, listed
        self.letters = CharacterChecks()
        self.phones: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        # By language and token: logarithms of rates, and indices of utterances.
        self.paces: dict[tuple[str, str], tuple[array[float], array[int]]]
        self.paces = defaultdict(lambda: (array("f"), array("q")))
        self.unknown: Counter[tuple[str, str]] = Counter()
        self.first_unknown: dict[tuple[str, str], str] = {}

    def read(self, index: int, split: str, u: Utterance, normal: str) -> Iterator[tuple[str, str]]:
        """Names of checks and details. `normal` is the normalised text; `odd_paces` returns
        `index`."""
        if u.text is not None and not normal:
            yield "empty_text", f"the text is {u.text!r}"[:80]
        if u.phones is not None and not u.phones:
            yield "empty_text", "the list of phones is empty"
        if u.text:
            for check, what in self.letters.read(u.language, split, u.id, u.text, normal):
                if check in self.listed:
                    yield check, printable(what)
        if u.phones:
            self.phones[u.language][split].update(set(u.phones))
        labels = {
            token_type: tokens
            for token_type, tokens in (("characters", normal), ("phonemes", u.phones or ()))
            if tokens and self.target.token_type in (None, token_type)
        }
        there = self.target.frames(int(u.duration * SAMPLE_RATE))
        for token_type, tokens in labels.items():
            if there < len(tokens) * 2 and there < (needed := frames_needed(tokens)):
                yield "infeasible", f"its {token_type} need {needed} frames, but it has {there}"
                break
        if self.target.vocabulary is not None:
            for tokens in labels.values():
                for token in sorted(set(tokens) - self.target.vocabulary):
                    self.unknown[u.language, token] += 1
                    self.first_unknown.setdefault((u.language, token), u.id)
                    if "unknown_token" in self.listed:
                        yield "unknown_token", printable(token)
        if u.duration >= PACE_SECONDS and (length := len(normal) or len(u.phones or ())):
            rates, indices = self.paces[u.language, "characters" if normal else "phones"]
            rates.append(math.log(length / u.duration))
            indices.append(index)

    def cases(self) -> Iterator[Case]:
        """Cases about languages, after all utterances are read."""
        yield from self.letters.cases()
        yield from self._unknown()
        for language, splits in sorted(self.phones.items()):
            spellings: dict[str, Counter[str]] = defaultdict(Counter)
            for symbol, count in sum(splits.values(), Counter[str]()).items():
                spellings[normalize_ipa(symbol)][symbol] += count
            for _, forms in sorted(spellings.items()):
                for symbol, count in forms.most_common()[1:]:
                    usual = forms.most_common(1)[0][0]
                    detail = f"the phone is usually written {usual} here"
                    yield Case("look_alike", symbol, detail, language, count=count)

    def odd_paces(self) -> list[tuple[int, str, str]]:
        """Index, check and detail, the farthest from the median first."""
        found: list[tuple[float, int, str, str]] = []
        for (_, token), (rates, indices) in sorted(self.paces.items()):
            log_rates = np.frombuffer(rates, np.float32)
            odd, median = outliers(log_rates)
            for i in odd:
                far = float(log_rates[i]) - median
                pace = f"{math.exp(median + far):.1f} {token} a second"
                detail = f"{pace}; the language's median is {math.exp(median):.1f}"
                found.append((-abs(far), indices[i], "fast" if far > 0 else "slow", detail))
        return [(index, check, detail) for _, index, check, detail in sorted(found)]

    def unjudged(self) -> list[str]:
        """Languages with too few labelled utterances to have a median pace."""
        few = [pace for pace, (rates, _) in self.paces.items() if len(rates) < PACE_UTTERANCES]
        return sorted({language for language, _ in few})

    def _unknown(self) -> Iterator[Case]:
        for (language, token), count in sorted(self.unknown.items()):
            detail = f"not in the vocabulary; first in {self.first_unknown[language, token]}"
            yield Case("unknown_token", printable(token), detail, language, count=count)
        if self.target.vocabulary is not None:
            return
        tokens = {language: w.letters_of for language, w in self.letters.languages.items()}
        for some, first in ((tokens, True), (self.phones, False)):
            for language, splits in sorted(some.items()):
                known = set().union(*(splits[s] for s in splits if not for_evaluation(s)))
                if not known:
                    continue
                for split in sorted(filter(for_evaluation, splits)):
                    for token in sorted(set(splits[split]) - known):
                        detail = f"in {split}, not in train"
                        if first:
                            of_language = self.letters.languages[language]
                            detail += f"; first in {of_language.first['', token]}"
                        count = splits[split][token]
                        yield Case("unknown_token", printable(token), detail, language, split,
                                   count=count)  # fmt: skip


def outliers(log_rates: Sequence[float] | np.ndarray) -> tuple[list[int], float]:
    """Positions of outliers, and the median; none if there are too few values."""
    values = np.asarray(log_rates, np.float64)
    if len(values) < PACE_UTTERANCES:
        return [], math.nan
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    limit = max(PACE_DEVIATIONS * spread, math.log(PACE_FACTOR))
    return np.flatnonzero(np.abs(values - median) > limit).tolist(), median
