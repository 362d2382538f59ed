"""Metrics of objectives without labels, such as `wav2vec2`, on test data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speechx.data.batches import Batches
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance
from speechx.data.sampling import every_row, once, padded_batches
from speechx.errors import UserError
from speechx.hypotheses import read_test_data
from speechx.log import logger
from speechx.models.folder import SavedModel
from speechx.objectives.model import SpeechModel
from speechx.training.distributed import pick_device
from speechx.training.speech_data import SpeechData
from speechx.training.validation import metrics_by_language
from speechx.transcription.recognizer import read_batch
from speechx.whole_file import write_json
from speechx.wording import number_of

READ_SECONDS = 60.0  # of recordings that are read at once
MIN_SECONDS = 1.0  # shorter utterances are left out
SEED = 1  # of masks and negatives


def evaluate_objectives(
    saved: SavedModel,
    names: Sequence[str],
    manifests: Sequence[Path],
    out: Path | None,
    device: str,
    failed: list[str],
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics of these objectives, by objective and by language or "overall".

    Utterances shorter than a second are left out; longer ones are cropped to 20 seconds. Recordings
    that cannot be read are left out, logged and added to `failed`. UserError if no utterance or no
    objective can be evaluated.
    """
    model, _ = SpeechModel.from_saved(saved)
    model.to(pick_device(device)).eval()
    listed = read_test_data(manifests)
    utterances = [u for u in listed if u.duration >= MIN_SECONDS]
    if len(utterances) < len(listed):
        logger.info(
            f"{len(listed) - len(utterances)} of {number_of(len(listed), 'utterance')} left out: "
            f"shorter than {MIN_SECONDS:g} s"
        )
    utterances = _readable(utterances, failed)
    data = SpeechData(train=tuple(manifests), min_seconds=MIN_SECONDS)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        try:
            model.configs[name].require(saved.encoder, MIN_SECONDS)
        except ValueError as error:
            raise UserError(f"{saved.folder}: {name} cannot be evaluated: {error}") from None
        results[name] = metrics_by_language(model, name, Corpus.of(utterances), data, SEED)
        if not results[name]:
            raise UserError(
                f"no utterance of the manifests is as long as {MIN_SECONDS:g} s, which {name} needs"
            )
    if not results:
        raise UserError(f"{saved.folder} has no objective to evaluate")
    if out is not None:
        about = {"model": str(saved.folder), "manifests": [str(m) for m in manifests]}
        write_json(out, {**about, "unreadable": failed, **results})
    return results


def _readable(utterances: Sequence[Utterance], failed: list[str]) -> list[Utterance]:
    """The utterances that can be read; why others cannot is logged and added to `failed`."""
    corpus, unread = Corpus.of(utterances), dict[int, str]()
    reader = Batches(corpus, normalized=False)
    plan_of = padded_batches(every_row(corpus), READ_SECONDS, np.random.default_rng(0))
    for plan in once(plan_of) if utterances else ():
        for _ in read_batch(reader, plan, unread):
            pass
    messages = [f"{utterances[n].id}: {why}" for n, why in sorted(unread.items())]
    failed += messages
    for message in messages:
        logger.info(f"speechx: {message}")
    if unread and len(unread) == len(utterances):
        raise UserError(f"none of the recordings can be read; {messages[0]}")
    if unread:
        total = number_of(len(utterances), "utterance")
        logger.info(f"{len(unread)} of {total} cannot be read and are left out")
    return [u for n, u in enumerate(utterances) if n not in unread]
