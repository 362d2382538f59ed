"""What an objective makes of unlabelled speech that it does not train on.

Masks are fixed and nothing else is random, so that two models, or two steps of one, see the same
task.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from speechx.data.batches import Batches
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance
from speechx.data.sampling import Rows, cropped_batches, once
from speechx.objectives.model import SpeechModel
from speechx.training.speech_data import SpeechData
from speechx.training.streams import usable_rows

MAX_SECONDS = 87.5  # of a batch


def objective_totals(
    model: SpeechModel, name: str, corpus: Corpus, rows: Rows, data: SpeechData, seed: int
) -> dict[str, float]:
    """Sums over the rows, for the `metrics` of the objective of that name."""
    device = next(model.parameters()).device
    plans = cropped_batches(rows, MAX_SECONDS, data.crop_seconds, np.random.default_rng([seed, 0]))
    encoder = model.encoder.config
    reader = Batches(
        corpus, encoder.normalize, seed, crop_seconds=data.crop_seconds,
        draw=partial(model.configs[name].draw, encoder=encoder),
    )  # fmt: skip
    totals: dict[str, float] = {}
    for plan in once(plans):
        with torch.no_grad():
            loss = model({name: reader[plan].to(device)}, None)[name]
        for key, value in loss.totals.items():
            totals[key] = totals.get(key, 0.0) + float(value)
    return totals


def totals_by_language(
    model: SpeechModel,
    name: str,
    utterances: Sequence[Utterance],
    data: SpeechData,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Sums for each language that has rows of at least `data.min_seconds`."""
    totals = {}
    for language in sorted({u.language for u in utterances}):
        corpus = Corpus.of([u for u in utterances if u.language == language])
        rows = usable_rows(corpus, data, seed)
        if len(rows):
            totals[language] = objective_totals(model, name, corpus, rows, data, seed)
    return totals


def summed(totals: Sequence[dict[str, float]]) -> dict[str, float]:
    """Sums over languages."""
    keys = dict.fromkeys(key for each in totals for key in each)
    return {key: sum(each.get(key, 0.0) for each in totals) for key in keys}
