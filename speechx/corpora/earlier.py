"""What earlier preparations left in a folder: which manifests, and how long they found what to be.

`manifests.txt` names the manifests, one a line; others there are a person's, or of other commands.
"""

import os
from pathlib import Path

from speechx.corpora.copies import Piece, copy_name
from speechx.corpora.measuring import SHORTEST
from speechx.data.manifest import Utterance, read_lines

WRITTEN = "manifests.txt"


def written_before(folder: Path) -> list[str]:
    """The manifests that preparations wrote there; none that a person made of them."""
    note = folder / WRITTEN
    names = note.read_text(encoding="utf-8").splitlines() if note.is_file() else []
    return [name for name in names if name.endswith(".jsonl") and Path(name).name == name]


def known_before(
    splits: dict[str, dict[str, Utterance]], folder: Path, copies: Path | None
) -> dict[str, set[str]]:
    """Gives utterances the length that an earlier run found; the ids of those, by split."""
    measured: dict[str, set[str]] = {split: set() for split in splits}
    for name in written_before(folder):
        manifest = folder / name
        if not manifest.is_file():
            continue
        when = manifest.stat().st_mtime
        for line in read_lines(manifest, ("id", "audio", "duration", "language", "start")):
            for split, utterances in splits.items():
                if isinstance(line.found, str) or line.found.id in measured[split]:
                    continue
                u = utterances.get(line.found.id)
                before = _known(u, copies, line.found, when) if u else None
                if u and before:
                    utterances[u.id] = before
                    measured[split].add(u.id)
    return measured


def _known(u: Utterance, copies: Path | None, before: Utterance, when: float) -> Utterance | None:
    """The utterance as an earlier run measured and listed it at the time `when`, if it did and the
    file has not changed since.

    The time of a file here is that of its last change of any kind (ctime), which unpacking an
    archive does not set back.
    """
    try:
        changed = os.stat(u.audio).st_ctime
        copy = None if copies is None else os.path.join(copies, copy_name(u))
        if copy is not None:
            changed = max(changed, os.stat(copy).st_ctime)
    except OSError:
        return None
    audio, start = (u.audio, u.start) if copy is None else (copy, 0.0)
    same = str(before.audio) == os.path.abspath(audio) and abs(before.start - start) < SHORTEST
    if copy is None and u.duration and abs(u.duration - before.duration) > SHORTEST:
        same = False
    if not same or changed >= when:
        return None
    duration = u.duration if copy is None and u.duration else before.duration
    return Piece(u.id, u.start, duration, copy).of(u)
