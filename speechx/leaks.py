"""Leaks: recordings, sentences and speakers that test data share with the training data of a model.

Scores of such test data are too good. The training data are in the configuration of the model's
run, `RUN/config.yaml` beside `RUN/best`, or are given.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speechx.config import read_yaml
from speechx.data.exclusion import Exclusions
from speechx.data.manifest import first_few, stream_manifest
from speechx.data.utterance import Utterance
from speechx.doctor.sharing import SHARED, shared_keys
from speechx.errors import UserError
from speechx.log import logger
from speechx.models.folder import is_model_folder
from speechx.text.languages import iso639_3
from speechx.text.normalize import normalize

OVERLAP = 0.05  # seconds that two segments of one recording may share, by rounding
SAME = 0.02  # seconds by which lengths of one recording in two files may differ
LONG = 20  # characters of a sentence that two texts hardly share by chance
MOST_SENTENCES = 0.01  # share of the test data whose long sentences may be in the training data


@dataclass(frozen=True, slots=True)
class Leaks:
    """Ids of test utterances that share something with the training data."""

    train: list[str]
    """The manifests."""
    utterances: int
    """Of the test data."""
    recording: list[str]
    speaker: list[str]
    sentence: list[str]
    long_sentence: list[str]
    """The part of `sentence` with 20 characters or more."""

    def to_dict(self) -> dict[str, Any]:
        """The same, as JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        kinds = (("recording", "recordings"), ("speaker", "speakers"), ("sentence", "sentences"))
        return ", ".join(
            f"{len(ids)} of {self.utterances} share {name} ({first_few(ids)})"
            for kind, name in kinds
            if (ids := getattr(self, kind))
        )

    def fatal(self, train_is_given: bool) -> bool:
        """Whether the test data must not be scored. If the training data were not given but found,
        shared speakers, short sentences and few long ones are allowed: small corpora have one
        speaker, and everybody says yes in conversations."""
        if train_is_given:
            return bool(self.recording or self.speaker or self.sentence)
        return bool(self.recording) or len(self.long_sentence) > MOST_SENTENCES * self.utterances


def find_leaks(
    train: Iterable[Utterance], test: Sequence[Utterance], manifests: Sequence[Path] = ()
) -> Leaks:
    """The utterances of `test` that share something with any of `train`; `manifests` are the names
    of the training data in the result. Recordings are the same if they overlap in one file, or if
    corpus, language, id and length are equal; speakers and sentences are compared as by
    `speechx data doctor`."""
    in_file: dict[object, list[Utterance]] = {}
    with_key: dict[str, dict[object, list[Utterance]]] = {name: {} for name in SHARED}
    with_id: dict[object, list[Utterance]] = {}
    normal = {id(u): normalize(u.text or "", u.language) for u in test}
    for u in test:
        in_file.setdefault(_file(u), []).append(u)
        with_id.setdefault(_name(u), []).append(u)
        for name, key in shared_keys(u, normal[id(u)]).items():
            with_key[name].setdefault(key, []).append(u)
    languages = {iso639_3(u.language) for u in test}
    shared: dict[str, set[int]] = {name: set() for name in ("recording", *SHARED)}
    for u in train:
        for other in in_file.get(_file(u), ()):
            end = min(u.start + u.duration, other.start + other.duration)
            if end - max(u.start, other.start) > OVERLAP:
                shared["recording"].add(id(other))
        for other in with_id.get(_name(u), ()) if u.corpus else ():
            if abs(u.duration - other.duration) < SAME:
                shared["recording"].add(id(other))
        if iso639_3(u.language) not in languages:
            continue
        for name, key in shared_keys(u, normalize(u.text or "", u.language)).items():
            if key is not None:
                shared[name].update(map(id, with_key[name].get(key, ())))
    ids = {name: [u.id for u in test if id(u) in some] for name, some in shared.items()}
    long = [
        u.id
        for u in test
        if id(u) in shared["sentence"] and len(normal[id(u)] or "".join(u.phones or ())) >= LONG
    ]
    return Leaks(list(map(str, manifests)), len(test), **ids, long_sentence=long)


def check_leaks(
    model: Path, test: Sequence[Utterance], train: Sequence[Path] = (), allow: bool = False
) -> Leaks | None:
    """The leaks between `test` and the training data: the manifests `train`, or those of the run
    that `model` is from. None if they are not known, which is logged. Raises UserError if scores
    would be too good, unless `allow`."""
    exclude: Sequence[Path] = ()
    manifests = train
    if not train:
        manifests, exclude = _of_run(model)
        absent = [path for path in (*manifests, *exclude) if not path.is_file()]
        if absent or not manifests:
            why = f" ({absent[0]} is not there)" if absent else ""
            logger.info(
                f"the training data of {model} are not known{why}, so the test data were not "
                "compared with them; --train names them"
            )
            return None
    excluded = Exclusions(exclude)
    kept = (u for path in manifests for u in stream_manifest(path) if not excluded.leave_out(u))
    leaks = find_leaks(kept, test, manifests)
    if not str(leaks):
        return leaks
    if leaks.fatal(bool(train)) and not allow:
        raise UserError(
            f"the scores would be too good: of the test utterances {leaks}, with the training data "
            f"{first_few(leaks.train)}. Test on other data, or score them all the same with "
            "--allow-leaks"
        )
    logger.info(f"scores may be too good: of the test utterances {leaks}, with the training data")
    return leaks


def _file(u: Utterance) -> object:
    return str(u.audio), u.bytes


def _name(u: Utterance) -> object:
    return u.corpus, iso639_3(u.language), u.id


def _of_run(model: Path) -> tuple[list[Path], list[Path]]:
    """The manifests of the run that wrote a model folder, and its lists of exclusions."""
    file = model.absolute().parent / "config.yaml"
    if not (is_model_folder(model) and file.is_file()):
        return [], []
    try:
        content = read_yaml(file)
    except UserError:  # of something else
        return [], []
    tasks = content.get("tasks")
    parts = [task.get("data") for task in tasks.values()] if isinstance(tasks, dict) else []
    found: dict[str, dict[Path, None]] = {"train": {}, "exclude": {}}
    for data in (content.get("data"), *parts):
        if isinstance(data, dict):
            for name, paths in found.items():
                listed = data.get(name)
                if isinstance(listed, list):
                    paths.update((Path(str(path)), None) for path in listed)
    return list(found["train"]), list(found["exclude"])
