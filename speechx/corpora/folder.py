"""Any folder of recordings to manifests, with a text file beside each or without.

    interviews/ann/01.wav, interviews/ann/01.txt, interviews/bob/talk.mp3, ...

Recordings with a `.txt` or `.lab` file of the same name become `train.jsonl`, with the text in one
line; the others become `unlabelled.jsonl` for pretraining, long ones in stretches. The id is the
path below the folder, without the suffix. `01.TXT` and `01.wav.txt` are texts of 01.wav too, and so
is a name whose accents are coded differently.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from speechx.audio.files import AUDIO_SUFFIXES
from speechx.corpora.engine.paths import check_folder, check_name
from speechx.corpora.engine.preparation import UNLABELLED, Preparation
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.tables import text_lines
from speechx.corpora.engine.write import Counts, Output, finish
from speechx.errors import UserError
from speechx.text.languages import language_code

TEXT_SUFFIXES = (".txt", ".lab")
LONGEST = 20.0  # seconds of a stretch


def prepare(
    root: Path,
    out: Output,
    language: str | None,
    *,
    speakers: bool = False,
    longest: float = LONGEST,
    corpus: str | None = None,
) -> Counts:
    """With `speakers`, every folder right below `root` is a speaker. `longest` is the maximum
    length of a stretch without text, in seconds. `corpus` is the folder's name unless given.
    """
    check_folder(root, "a folder of recordings")
    if not language:
        raise UserError(f"{root}: recordings do not name their language; give --language xx")
    named, language = language, language_code(language)
    check_name(language)
    real, written = root.resolve(), (out.folder / language).resolve()
    if real == out.folder.resolve() or real.is_relative_to(written):
        raise UserError(
            f"{root}: manifests and copies would be written among the recordings (-o {out.folder}),"
            " and the next run would read them; give -o another folder, such as "
            f"{root / 'prepared'}."
        )
    name = corpus or root.resolve().name
    some = Preparation(language, corpus=name, named=named)
    found = _read(root, out.folder.resolve(), some, speakers)
    return finish([found], out, f"the folder {name}", longest)


def _read(root: Path, out: Path, found: Preparation, speakers: bool) -> Preparation:
    ids: set[str] = set()
    files = _files(root, out)
    texts = _texts(files)
    unclaimed, kept = dict(texts), 0
    for name in files:
        path = Path(name)
        if any(part.startswith(".") for part in path.parts):
            found.left_out["hidden files"] += 1
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            beside = [key for key in _text_keys(path) if key in texts]
            for key in beside:
                unclaimed.pop(key, None)
            if found.file(root, name, str(root)) is None:
                continue
            id = path.with_suffix("").as_posix()
            id = path.as_posix() if id in ids else id  # a.wav and a.flac are two
            ids.add(id)
            bad = len(found.corrupt) + len(found.missing)
            text = _text(root, [texts[key] for key in beside], found)
            kept += not text and len(found.corrupt) + len(found.missing) > bad
            speaker = path.parts[0] if speakers and len(path.parts) > 1 else None
            found.add_file("train", root, name, str(root), text, speaker, id=id)
        elif path.suffix.lower() not in TEXT_SUFFIXES:
            found.left_out["files that are no audio"] += 1
    if unclaimed:
        first = min(unclaimed.values())
        why = f"text files beside no recording of the same name (the first is {first})"
        found.left_out[why] = len(unclaimed)
    if kept:
        found.notes[UNLABELLED] = f"{kept} recordings are kept here, only their texts are left out"
    if not found.splits and not found.missing and not found.corrupt:
        raise UserError(f"{root}: no audio file is in it ({', '.join(sorted(AUDIO_SUFFIXES))}).")
    return found


def _files(root: Path, out: Path) -> list[str]:
    """All files below `root`, except the output. Links to folders are not followed."""
    files = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if os.path.realpath(f"{folder}/{name}") != str(out)]
        files += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(files)


def _texts(files: Iterable[str]) -> dict[str, str]:
    """The text files, under names that `_text_keys` gives for their recordings."""
    texts = {}
    for name in files:
        path = Path(name)
        hidden = any(part.startswith(".") for part in path.parts)
        if path.suffix.lower() in TEXT_SUFFIXES and not hidden:
            texts[_plain(path.with_suffix("")) + path.suffix.lower()] = name
    return texts


def _text_keys(audio: Path) -> list[str]:
    """Possible names of the text of a recording, the most specific first."""
    names = (_plain(audio), _plain(audio.with_suffix("")))
    return [name + suffix for suffix in TEXT_SUFFIXES for name in names]


def _plain(path: Path) -> str:
    """A name with the suffix in lower case, and accents composed."""
    suffix = path.suffix.lower()
    path = path.with_suffix(suffix) if suffix in AUDIO_SUFFIXES else path
    return unicodedata.normalize("NFC", path.as_posix())


def _text(root: Path, names: Iterable[str], found: Preparation) -> str:
    """The lines of the first text file, as one; empty where there is none that can be read."""
    for name in names:
        if path := found.file(root, name, str(root)):
            try:
                lines = [line.strip() for _, line in text_lines(path)]
            except UserError as error:
                found.corrupt.append(Problem.of(error, path))
                return ""
            return " ".join(filter(None, lines))
    return ""
