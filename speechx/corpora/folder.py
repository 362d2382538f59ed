"""Any folder of recordings to manifests, with a text file beside each or without.

    interviews/ann/01.wav, interviews/ann/01.txt, interviews/bob/talk.mp3, ...

What has a `.txt` or `.lab` file of the same name becomes `train.jsonl`, with the text in one line;
what has none becomes `unlabelled.jsonl` for pretraining, and there long recordings are listed in
stretches. The id is the path below the folder, without the ending of the file.
"""

import os
from pathlib import Path

from speechx.audio.files import AUDIO_SUFFIXES
from speechx.corpora.folders import check_folder
from speechx.corpora.lines import text_lines
from speechx.corpora.output import Output, finish
from speechx.corpora.preparation import UNLABELLED, Preparation
from speechx.data.manifest import Utterance
from speechx.errors import UserError

TEXT_SUFFIXES = (".txt", ".lab")
LONGEST = 20.0  # seconds of a stretch


def prepare(
    root: Path,
    out: Output,
    language: str,
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
    name = corpus or root.resolve().name
    some = _read(root, out.folder.resolve(), Preparation(language, corpus=name), speakers)
    return finish([some], out, f"the folder {name}", longest)


def _read(root: Path, out: Path, some: Preparation, speakers: bool) -> Preparation:
    ids: set[str] = set()
    for name in _files(root, out):
        path = Path(name)
        if any(part.startswith(".") for part in path.parts):
            some.left_out["hidden files"] += 1
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            audio = some.file(root, name, str(root))
            if audio is None:
                continue
            id = path.with_suffix("").as_posix()
            id = path.as_posix() if id in ids else id  # a.wav and a.flac are two
            ids.add(id)
            text = _text(root, path, some)
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


def _text(root: Path, audio: Path, some: Preparation) -> str | None:
    """What the text file beside a recording says, its lines as one."""
    for suffix in TEXT_SUFFIXES:
        name = audio.with_suffix(suffix)
        if (root / name).is_file() and (path := some.file(root, str(name), str(root))):
            try:
                lines = [line.strip() for _, line in text_lines(path)]
            except UserError as error:
                some.refuse(str(path), str(error).removeprefix(f"{path} "))
                return None
            return " ".join(filter(None, lines)) or None
    return None
