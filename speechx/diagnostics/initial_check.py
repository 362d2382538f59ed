"""Whether a model that was loaded knows this audio, asked before training goes on from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from speechx.data.corpus import Corpus
from speechx.data.sampling import Rows
from speechx.errors import UserError
from speechx.training.distributed import Machine, autocast
from speechx.training.progress import say

HEARD_SECONDS = 120.0  # of each language, without data.valid
AT_CHANCE = 0.95  # of the bits of a guess, above which a loaded model has learned nothing
COLLAPSED = 1.1  # codes per group, below which its quantizer has


class Trial(Protocol):
    """What is asked of the task, `pretraining.Pretraining`."""

    config: Any
    here: Machine
    valid: Corpus | None

    def valid_rows(self, corpus: Corpus) -> Rows: ...
    def evaluate(self, model: nn.Module, corpus: Corpus, rows: Rows) -> dict[str, float]: ...
    def summary(self, sums: Mapping[str, float]) -> dict[str, float]: ...


def check_restored(task: Trial, model: nn.Module, corpus: Corpus) -> None:
    """Says what the loaded model makes of this audio before the first step, per language.

    A model whose quantizer or projections were not restored is at chance, log2(K+1) bits; that is
    an error, for training would go on from there without a word. All ranks come to the same answer.
    """
    config, here = task.config, task.here
    groups = config.model.quantizer.groups
    guess = math.log2(config.contrastive.negatives + 1)
    whole: dict[str, float] = {}
    table = [f"{'before step 1':<14}{'bits':>7}{'accuracy':>10}{'codes':>8}   (chance {guess:.3f})"]
    heard = task.valid or corpus
    model.eval()
    for language in heard.languages:
        spoken = heard.in_language(language)
        rows = task.valid_rows(spoken)
        if not len(rows):
            table.append(f"{language:<14}not tried: no row of {config.data.min_seconds:g} s")
            continue
        if not task.valid:
            rows = _some_rows(rows, HEARD_SECONDS)
        with torch.no_grad(), autocast(here.device, config.run.precision):
            sums = task.evaluate(model, spoken, rows)
        whole = {key: whole.get(key, 0.0) + value for key, value in sums.items()}
        table.append(_baseline_row(language, task.summary(sums)))
    if whole:
        table.append(_baseline_row("all", task.summary(whole)))
    if here.first:
        say("\n".join(table))
    if not whole:
        return
    overall = task.summary(whole)
    problem, chance = "", overall["chance_bits"]
    if overall["bits"] > AT_CHANCE * chance:
        problem = (
            f"is at chance on this audio ({overall['bits']:.3f} of {chance:.3f} "
            "bits): its quantizer or projections were not restored, or it was trained with another "
            "`normalize`, or hardly trained, or these recordings hold no speech"
        )
    elif overall["code_perplexity"] < COLLAPSED * groups:
        problem = "has a collapsed quantizer: one code for everything on this audio"
    if problem and not config.accept_chance:
        raise UserError(f"init={config.init} {problem}. To go on all the same: accept_chance=true")
    if problem and here.first:
        say(f"pretrain: init={config.init} {problem}")


def _some_rows(rows: Rows, seconds: float) -> Rows:
    """Random rows, the same ones every time, until they are at least so long together. Of the
    longer half: a batch is cropped to its shortest row, and short rows make an easy task."""
    longer_R = np.argsort(rows.seconds_R, kind="stable")[len(rows) // 2 :]
    some_R = np.random.default_rng(0).permutation(longer_R)
    before_R = np.cumsum(rows.seconds_R[some_R]) - rows.seconds_R[some_R]
    return rows.take(some_R[before_R < seconds])


def _baseline_row(name: str, values: Mapping[str, float]) -> str:
    return (
        f"{name:<14}{values['bits']:>7.3f}{values['accuracy']:>10.3f}"
        f"{values['code_perplexity']:>8.1f}"
    )
