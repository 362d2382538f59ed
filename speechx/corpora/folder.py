"""Any folder of recordings to manifests, with a text file beside each or without.

    interviews/ann/01.wav, interviews/ann/01.txt, interviews/bob/talk.mp3, ...

What has a `.txt` or `.lab` file of the same name becomes `train.jsonl`, with the text in one line;
what has none becomes `unlabelled.jsonl` for pretraining, and there long recordings are listed in
stretches. The id is the path below the folder, without the ending of the file. `01.TXT` and
`01.wav.txt` are texts of 01.wav too, and so is a name whose accents are coded otherwise.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from speechx.audio.files import AUDIO_SUFFIXES
from speechx.corpora.engine.languages import check_folder
from speechx.corpora.engine.paths import check_name
from speechx.corpora.engine.preparation import UNLABELLED, Preparation
from speechx.corpora.engine.tables import text_lines
from speechx.corpora.engine.write import Output, finish
from speechx.data.manifest import Utterance
from speechx.errors import UserError

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
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/{train,unlabelled}.jsonl`; returns how many utterances each has.

    `speakers` says that every folder right below `root` is a speaker. `longest` is of a stretch
    without text, in seconds. `corpus` is the folder's name unless given.
    """
    root = Path(root)
    check_folder(root, "a folder of recordings")
    if not language:
        raise UserError(f"{root}: recordings do not name their language; give --language xx")
    check_name(language)
    _check_apart(root, out.folder, language)
    name = corpus or root.resolve().name
    some = _read(root, out.folder.resolve(), Preparation(language, corpus=name), speakers)
    return finish([some], out, f"the folder {name}", longest)


def _check_apart(root: Path, out: Path, language: str) -> None:
    """What is written must not be among the recordings of the next run."""
    real, written = root.resolve(), (out / language).resolve()
    if real == out.resolve() or real.is_relative_to(written):
        raise UserError(
            f"{root}: manifests and copies would be written among the recordings (-o {out}), and "
            f"the next run would take them for more; give -o a folder of its own, such as "
            f"{root / 'prepared'}."
        )


def _read(root: Path, out: Path, some: Preparation, speakers: bool) -> Preparation:
    ids: set[str] = set()
    files = _files(root, out)
    texts = _texts(files)
    unclaimed, kept = dict(texts), 0
    for name in files:
        path = Path(name)
        if any(part.startswith(".") for part in path.parts):
            some.left_out["hidden files"] += 1
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            beside = [key for key in _text_keys(path) if key in texts]
            for key in beside:
                unclaimed.pop(key, None)
            audio = some.file(root, name, str(root))
            if audio is None:
                continue
            id = path.with_suffix("").as_posix()
            id = path.as_posix() if id in ids else id  # a.wav and a.flac are two
            ids.add(id)
            bad = len(some.corrupt) + len(some.missing)
            text = _text(root, [texts[key] for key in beside], some)
            kept += not text and len(some.corrupt) + len(some.missing) > bad
            utterance = Utterance(
                id=id,
                audio=audio,
                duration=0.0,
                language=some.language,
                text=text,
                speaker=path.parts[0] if speakers and len(path.parts) > 1 else None,
            )
            some.add("train" if text else UNLABELLED, utterance)
        elif path.suffix.lower() not in TEXT_SUFFIXES:
            some.left_out["files that are no audio"] += 1
    if unclaimed:
        first = min(unclaimed.values())
        why = f"text files beside no recording of the same name (the first is {first})"
        some.left_out[why] = len(unclaimed)
    if kept:
        some.notes[UNLABELLED] = f"{kept} recordings are kept here, only their texts are left out"
    if not some.splits and not some.missing and not some.corrupt:
        raise UserError(f"{root}: no audio file is in it ({', '.join(sorted(AUDIO_SUFFIXES))}).")
    return some


def _files(root: Path, out: Path) -> list[str]:
    """All files below `root`, but for what was written there. Links to folders are not followed."""
    files = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if os.path.realpath(f"{folder}/{name}") != str(out)]
        files += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(files)


def _texts(files: Iterable[str]) -> dict[str, str]:
    """The text files, by what `_text_keys` of their recordings may give."""
    texts = {}
    for name in files:
        path = Path(name)
        hidden = any(part.startswith(".") for part in path.parts)
        if path.suffix.lower() in TEXT_SUFFIXES and not hidden:
            texts[_plain(path.with_suffix("")) + path.suffix.lower()] = name
    return texts


def _text_keys(audio: Path) -> list[str]:
    """What the text of a recording may be called, the best first: 01.wav.txt is no other's."""
    names = (_plain(audio), _plain(audio.with_suffix("")))
    return [name + suffix for suffix in TEXT_SUFFIXES for name in names]


def _plain(path: Path) -> str:
    """A name in which B.WAV is B.wav, and an accent is coded in one of the two ways there are."""
    suffix = path.suffix.lower()
    path = path.with_suffix(suffix) if suffix in AUDIO_SUFFIXES else path
    return unicodedata.normalize("NFC", path.as_posix())


def _text(root: Path, names: Iterable[str], some: Preparation) -> str | None:
    """What the first text file that can be read says, its lines as one."""
    for name in names:
        if path := some.file(root, name, str(root)):
            try:
                lines = [line.strip() for _, line in text_lines(path)]
            except UserError as error:
                some.refuse(str(path), str(error).removeprefix(f"{path} "))
                return None
            return " ".join(filter(None, lines)) or None
    return None
