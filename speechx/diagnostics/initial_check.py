"""Whether a model that was loaded fits this audio, checked before training goes on from it.

The same rows are tried every time, so that two models can be compared.

    R rows
"""

from collections.abc import Mapping, Sequence

import numpy as np

from speechx.data.corpus import Corpus
from speechx.data.sampling import Rows
from speechx.errors import UserError
from speechx.log import logger
from speechx.objectives.model import SpeechModel
from speechx.text_table import text_table
from speechx.training.run import RunConfig
from speechx.training.streams import TaskData, usable_rows
from speechx.training.validation import objective_totals, summed

TRIED_SECONDS = 120.0  # of each language, without data.dev


def check_restored(
    model: SpeechModel, name: str, config: RunConfig, task: TaskData, seed: int
) -> None:
    """Logs the metrics of one objective of the loaded model on this audio, per language.

    An objective whose parameters were not restored is at chance; that is an error, for training
    would go on from there without a word. All ranks come to the same answer.
    """
    objective, data = model.objective(name), config.all_tasks()[name].data
    corpus = Corpus.of(task.dev) if task.dev else task.corpus
    totals: dict[str, dict[str, float]] = {}
    untried = []
    training = model.training
    model.eval()
    for language in corpus.languages:
        spoken = corpus.take(corpus.language_N == corpus.languages.index(language))
        rows = usable_rows(spoken, data, seed)
        if not len(rows):
            untried.append(language)
            continue
        if not task.dev:
            rows = _some_rows(rows, TRIED_SECONDS)
        totals[language] = objective_totals(model, name, spoken, rows, data, seed)
    model.train(training)
    if not totals:
        return
    overall = objective.metrics(summed(list(totals.values())))
    keys = objective.headline or tuple(overall)
    rows_of_table = [["before step 1", *keys]]
    for language, each in totals.items():
        rows_of_table.append(_row(language, objective.metrics(each), keys))
    rows_of_table.append(_row("all", overall, keys))
    lines = [text_table(rows_of_table)]
    lines += [f"{language}: not tried, no row of {data.min_seconds:g} s" for language in untried]
    logger.info("\n".join(lines))
    problem = objective.untrained(overall)
    if problem and not config.allow_chance_level:
        raise UserError(
            f"init={config.init} {problem}. To go on all the same: allow_chance_level=true"
        )
    if problem:
        logger.info(f"init={config.init} {problem}")


def _some_rows(rows: Rows, seconds: float) -> Rows:
    """Random rows of at least `seconds` together, the same ones every time. Of the longer half: a
    batch is cropped to its shortest row, and short rows make an easy task."""
    longer_R = np.argsort(rows.seconds_R, kind="stable")[len(rows) // 2 :]
    some_R = np.random.default_rng(0).permutation(longer_R)
    before_R = np.cumsum(rows.seconds_R[some_R]) - rows.seconds_R[some_R]
    return rows.take(some_R[before_R < seconds])


def _row(name: str, values: Mapping[str, float], keys: Sequence[str]) -> list[str]:
    return [name, *(f"{values[key]:.3f}" for key in keys)]
