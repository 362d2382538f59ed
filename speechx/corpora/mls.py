"""Multilingual LibriSpeech to manifests: audiobooks in eight languages, as FLAC or as Opus.

    mls_german/metainfo.txt                               speaker | gender | partition | ...
    mls_german/{train,dev,test}/transcripts.txt           id <tab> text
    mls_german/{train,dev,test}/segments.txt              where in LibriVox it was cut; not needed
    mls_german/{train,dev,test}/audio/{speaker}/{book}/{speaker}_{book}_{number}.flac
    mls_german/train/limited_supervision/9hr/handles.txt, 1hr/{0..5}/handles.txt

The six parts of `1hr` have ten minutes each. They become splits of their own, which train holds
too: `train_10min_0` to `train_10min_5`, `train_1hr` (those six together) and `train_9hr`; the ten
hours of the paper are the last two.
"""

from collections.abc import Sequence
from pathlib import Path

from speechx.corpora.engine.languages import choose, language_folders, name_links
from speechx.corpora.engine.preparation import SPLITS, Preparation
from speechx.corpora.engine.tables import rows_in, table_in, text_lines
from speechx.corpora.engine.write import Counts, Output, finish
from speechx.text.languages import language_code

GENDERS = {"M": "male", "F": "female"}


def prepare(root: Path, out: Output, languages: Sequence[str] | None = None) -> Counts:
    """`root` holds `mls_*` folders, or is one; `languages` by MLS' names (german) or by ours, None
    for all.
    """
    texts = [f"{split}/transcripts.txt" for split in SPLITS]
    there = language_folders([root], texts, "Multilingual LibriSpeech")
    chosen = choose(there, languages, root, lambda name: language_code(_own_language(name)))
    name_links(root, (there[name] for name in chosen.values()))
    return finish(
        (_read_language(code, there[name], name) for code, name in chosen.items()),
        out,
        lambda code: f"MLS {chosen[code]}",
    )


def _read_language(language: str, folder: Path, release: str) -> Preparation:
    found = Preparation(language, "mls", release, named=_own_language(release))
    gender = _genders(folder)
    suffix = ".opus" if release.endswith("_opus") else ".flac"
    limited = _limited_supervision(folder)
    columns = ("id", "text")
    for split in SPLITS:
        for place, row in rows_in(folder, f"{split}/transcripts.txt", (), found.corrupt, columns):
            words = row["id"].split("_")
            if len(words) != 3 or not all(words):
                found.refuse(place, f"{row['id'][:200]!r} is not speaker_book_number")
                continue
            speaker, book, _ = words
            name = f"{split}/audio/{speaker}/{book}/{row['id']}{suffix}"
            text, extra = row["text"].strip(), {"gender": gender.get(speaker, "")}
            utterance = found.add_file(split, folder, name, place, text, speaker, extra)
            if utterance and split == "train":
                for part in limited.get(row["id"], ()):
                    found.add(part, utterance)
    listed = found.splits.get("train", {})
    if unknown := sum(id not in listed for id in limited):
        found.left_out["ids of limited_supervision that are not in train"] = unknown
    return found


def _own_language(folder: str) -> str:
    return folder.removeprefix("mls_").removesuffix("_opus")


def _genders(folder: Path) -> dict[str, str]:
    """Speaker to gender; empty without the table."""
    metainfo = table_in(folder, "metainfo.txt")
    lines = text_lines(metainfo) if metainfo else ()
    rows = ([cell.strip() for cell in line.split("|")] for _, line in lines)
    return {row[0]: GENDERS[row[1]] for row in rows if len(row) > 1 and row[1] in GENDERS}


def _limited_supervision(folder: Path) -> dict[str, list[str]]:
    sets: dict[str, list[str]] = {}
    for pattern in ("*/handles.txt", "1hr/*/handles.txt"):
        for found in sorted(folder.glob(f"train/limited_supervision/{pattern}")):
            handles, name = table_in(folder, str(found.relative_to(folder))), found.parent.name
            of_an_hour = [f"train_10min_{name}", "train_1hr"]
            names = of_an_hour if pattern.startswith("1hr") else [f"train_{name}"]
            for _, id in text_lines(handles) if handles else ():
                sets.setdefault(id.strip(), []).extend(names)
    return sets
