"""Whether a model that was loaded fits this audio, checked before training goes on from it.

The same rows are tried every time, so that two models can be compared.
"""

from speechx.data.corpus import Corpus
from speechx.errors import UserError
from speechx.log import logger
from speechx.objectives.model import SpeechModel
from speechx.training.run import RunConfig
from speechx.training.streams import TaskData
from speechx.training.validation import metrics_by_language, metrics_table

TRIED_SECONDS = 120.0  # of each language, without data.dev


def check_restored(
    model: SpeechModel, name: str, config: RunConfig, task_data: TaskData, seed: int
) -> None:
    """Logs the metrics of one objective of the loaded model on this audio, per language.

    An objective whose parameters were not restored is at chance; that is an error, for training
    would go on from there silently. All ranks come to the same answer.
    """
    objective, data = model.objective(name), config.all_tasks()[name].data
    corpus = Corpus.of(task_data.dev) if task_data.dev else task_data.corpus
    training = model.training
    model.eval()
    most = None if task_data.dev else TRIED_SECONDS
    metrics = metrics_by_language(model, name, corpus, data, seed, most)
    model.train(training)
    if not metrics:
        return
    untried = [language for language in corpus.languages if language not in metrics]
    lines = [metrics_table("before step 1", metrics, objective.headline)]
    lines += [f"{language}: not tried, no row of {data.min_seconds:g} s" for language in untried]
    logger.info("\n".join(lines))
    problem = objective.untrained(metrics["overall"])
    if problem and not config.allow_chance_level:
        raise UserError(
            f"init={config.init} {problem}. To continue anyway: allow_chance_level=true"
        )
    if problem:
        logger.info(f"init={config.init} {problem}")
