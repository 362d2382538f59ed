"""Metrics of an objective on unlabelled speech that it does not train on, per language.

Masks are fixed and nothing else is random, so that two models, or two steps of one, see the same
task.

    N utterances · R rows
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch

from speechx.data.batches import Batches
from speechx.data.corpus import Corpus
from speechx.data.sampling import Rows, cropped_batches, once
from speechx.objectives.model import SpeechModel
from speechx.text_table import text_table
from speechx.training.speech_data import SpeechData
from speechx.training.streams import usable_rows

MAX_SECONDS = 87.5  # of a batch


def metrics_by_language(
    model: SpeechModel,
    name: str,
    corpus: Corpus,
    data: SpeechData,
    seed: int,
    most_seconds: float | None = None,
) -> dict[str, dict[str, float]]:
    """Metrics of one objective for each language that has rows of at least `data.min_seconds`, and
    "overall"; of random rows of about `most_seconds`, if given. Empty without any row."""
    totals = {}
    for index, language in enumerate(corpus.languages):
        spoken = corpus.take(corpus.language_N == index)
        rows = usable_rows(spoken, data, seed)
        if most_seconds is not None:
            rows = _some_rows(rows, most_seconds)
        if len(rows):
            totals[language] = _totals(model, name, spoken, rows, data, seed)
    if totals:
        totals["overall"] = _summed(list(totals.values()))
    return {language: model.objective(name).metrics(each) for language, each in totals.items()}


def metrics_table(
    title: str, metrics: Mapping[str, Mapping[str, float]], keys: Sequence[str] = ()
) -> str:
    """A row per language, a column per metric or per key."""
    keys = keys or list(next(iter(metrics.values())))
    rows = [[language, *(f"{m[key]:.3f}" for key in keys)] for language, m in metrics.items()]
    return text_table([[title, *keys], *rows])


def _totals(
    model: SpeechModel, name: str, corpus: Corpus, rows: Rows, data: SpeechData, seed: int
) -> dict[str, float]:
    """Sums over the rows, for the `metrics` of the objective of that name."""
    device = next(model.parameters()).device
    plans = cropped_batches(rows, MAX_SECONDS, data.crop_seconds, np.random.default_rng([seed, 0]))
    encoder = model.encoder.config
    reader = Batches(
        corpus, encoder.normalize, seed, crop_seconds=data.crop_seconds,
        draw=partial(model.configs[name].draw, encoder=encoder), epsilon=encoder.normalize_epsilon,
    )  # fmt: skip
    sums = []
    for plan in once(plans):
        with torch.no_grad():
            loss = model({name: reader[plan].to(device)}, None)[name]
        sums.append({key: float(value) for key, value in loss.totals.items()})
    return _summed(sums)


def _summed(totals: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = dict.fromkeys(key for each in totals for key in each)
    return {key: sum(each.get(key, 0.0) for each in totals) for key in keys}


def _some_rows(rows: Rows, seconds: float) -> Rows:
    """Random rows of at least `seconds` together, the same ones every time. Of the longer half: a
    batch is cropped to its shortest row, and short rows make an easy task."""
    longer_R = np.argsort(rows.seconds_R, kind="stable")[len(rows) // 2 :]
    some_R = np.random.default_rng(0).permutation(longer_R)
    before_R = np.cumsum(rows.seconds_R[some_R]) - rows.seconds_R[some_R]
    return rows.take(some_R[before_R < seconds])
