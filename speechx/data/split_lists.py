"""Split lists: the utterances of each split, stored separately from the corpus.

A list is a text file with one id per line; a line that begins with `#` is a comment. Together with
the name of the release it makes a result reproducible, and unlike manifests and audio it is small
enough for a repository (`data_manifests/splits/`).

Published lists can be read too: clip names with or without folder and suffix (Riviere et
al. 2020: `trainSeqs_1.0_uniform_new_version.txt`, `valSeqs_...`, `testSeqs_...`), and the tables of
fairseq and UniSpeech (`train.tsv`: a line with a folder, then path and samples). A file with the
same name and the suffix `.phone` contains the phones of the utterances, line by line; the word
boundary `|` is ignored.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from speechx.audio.files import AUDIO_SUFFIXES
from speechx.data.manifest import SOURCE, Utterance, claim, first_few, read_manifest, write_manifest
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.user_files import read_lines

# The number in names such as trainSeqs_1.0_uniform is hours.
RIVIERE = {"trainSeqs": "train", "valSeqs": "dev", "testSeqs": "test"}


def split_name(path: Path) -> str:
    """The split of a list: train_1h for trainSeqs_1.0_uniform_new_version.txt."""
    head, _, rest = path.stem.partition("_")
    if head not in RIVIERE:
        return path.stem
    hours = re.match(r"\d+(\.\d+)?(?=_|$)", rest)
    return f"{RIVIERE[head]}_{float(hours[0]):g}h" if hours else RIVIERE[head]


def write_list(path: Path, utterances: Iterable[Utterance], about: str) -> None:
    """Writes the ids, below a comment that describes them."""
    lines = [f"# {about}", *(u.id for u in utterances)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_list(path: Path) -> dict[str, tuple[str, ...] | None]:
    """The names in list order, with their phones if there is a `.phone` file."""
    lines = read_lines(path, "the list", "one id per line")
    names = [line.split("\t")[0].strip() for line in lines]
    if path.suffix == ".tsv":
        names = names[1:]  # the first line is the folder of the audio
    ids = [name for name in names if name and not name.startswith("#")]
    if not ids:
        raise UserError(f"{path}: the list is empty; one id per line was expected.")
    labels = path.with_suffix(".phone")
    if not labels.is_file():
        return dict.fromkeys(ids)
    phones = read_lines(labels, "the phones", "the phones of one utterance per line")
    if len(phones) != len(ids):
        raise UserError(f"{labels}: {len(phones)} lines, but {path} lists {len(ids)} utterances.")
    return {
        id: tuple(phone for phone in line.split() if phone != "|")
        for id, line in zip(ids, phones, strict=True)
    }


def split_by_lists(
    manifests: Sequence[Path], lists: Sequence[Path], out: Path
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/<split>.jsonl` for every list; returns the numbers of utterances."""
    lists = [path for path in lists if path.name != SOURCE] or lists  # FOLDER/*.txt includes it
    splits = apply_lists((u for path in manifests for u in read_manifest(path)), lists)
    languages = sorted({u.language for chosen in splits.values() for u in chosen})
    source = f"the lists {', '.join(map(str, lists))} of {', '.join(map(str, manifests))}"
    counts: dict[str, dict[str, int]] = {}
    for language in languages:
        claim(out / language, source)
        counts[language] = {}
        for name, chosen in splits.items():
            path = out / language / f"{name}.jsonl"
            if in_language := [u for u in chosen if u.language == language]:
                counts[language][name] = write_manifest(path, in_language)
            else:  # of an earlier list
                path.unlink(missing_ok=True)
    return counts


def apply_lists(
    utterances: Iterable[Utterance], lists: Sequence[Path]
) -> dict[str, list[Utterance]]:
    """Selects the listed utterances from those of the manifests, by split.

    Logs the number of listed utterances that are in no manifest. A list without any known utterance
    is a UserError, and so are two lists that share utterances, unless both are for train.
    """
    known: dict[str, Utterance] = {}
    other_language: dict[str, Utterance] = {}  # the same id in another language
    for u in utterances:
        if known.setdefault(u.id, u).language != u.language:
            other_language[u.id] = u
    splits: dict[str, list[Utterance]] = {}
    for path in lists:
        listed = read_list(path)
        name = split_name(path)
        if name in splits:
            raise UserError(f"{path}: another list also has the name {name}; rename one of them")
        ids = {name: name if name in known else _id(name) for name in listed}
        found = [name for name in listed if ids[name] in known]
        if not found:
            raise UserError(
                f"{path}: none of its {len(listed)} utterances ({first_few(list(listed))}) is in "
                "the manifests; a list fits only one release of one language"
            )
        if twice := [x for x in found if ids[x] in other_language]:
            one, other = known[ids[twice[0]]], other_language[ids[twice[0]]]
            raise UserError(
                f"{path}: {twice[0]} is an utterance of {one.language} and of {other.language} "
                f"({len(twice)} such names); give the manifests of one language"
            )
        splits[name] = [_listed(known[ids[x]], listed[x], path) for x in found]
        absent = [x for x in listed if ids[x] not in known]
        note = f"; {len(absent)} are in no manifest: {first_few(absent)}" if absent else ""
        logger.info(f"{name}: {len(found)} of {len(listed)} utterances of {path.name}{note}")
    _refuse_shared(splits)
    return splits


def _listed(u: Utterance, phones: tuple[str, ...] | None, path: Path) -> Utterance:
    extra = {**u.extra, "split": f"list {path.name}"}
    return replace(u, extra=extra, phones=u.phones if phones is None else phones)


def _refuse_shared(splits: Mapping[str, Sequence[Utterance]]) -> None:
    kind_of: dict[str, str] = {}
    for name, utterances in splits.items():
        kind = name.split("_")[0]
        for u in utterances:
            if kind_of.setdefault(u.id, kind) != kind:
                raise UserError(
                    f"{u.id} is listed for {kind_of[u.id]} and for {kind}; splits must be disjoint"
                )


def _id(name: str) -> str:
    """The id of a clip name: without folder and audio suffix."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else path.name
