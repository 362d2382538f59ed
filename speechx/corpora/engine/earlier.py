"""What earlier preparations left in a folder: which manifests, and how long they found what to be.

`manifests.txt` names the manifests, one a line; others there are a person's, or of other commands.
Its last line is a digest of the lengths in the corpus's tables: if those are others now, a length
in a manifest may be one that no table has any more and no file had. Every preparation writes it
when it is done, and without that line while its manifests are of before and of now; what has not
changed since is as the manifests say.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from speechx.corpora.engine.copies import Piece, copy_name
from speechx.corpora.engine.measure import SHORTEST
from speechx.data.manifest import Utterance, read_lines
from speechx.whole_file import whole_file

WRITTEN = "manifests.txt"
CLAIMS = "lengths listed: "


class Written(NamedTuple):
    """What preparations wrote into a folder."""

    manifests: list[str]
    """None that a person made of them."""
    claims: str = ""
    """`claims` of what was listed; empty if a preparation was stopped while it wrote manifests."""


def written_before(folder: Path) -> Written:
    note = folder / WRITTEN
    lines = note.read_text(encoding="utf-8").splitlines() if note.is_file() else []
    names = [name for name in lines if name.endswith(".jsonl") and Path(name).name == name]
    digests = [line.removeprefix(CLAIMS) for line in lines if line.startswith(CLAIMS)]
    return Written(names, *digests[-1:])


def note_written(folder: Path, written: Written) -> None:
    lines = [*written.manifests, *([CLAIMS + written.claims] if written.claims else [])]
    with whole_file(folder / WRITTEN) as new:
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def claims(splits: Mapping[str, Mapping[str, Utterance]]) -> str:
    """A digest of which utterances are listed with which length."""
    digest = hashlib.blake2b(digest_size=6)
    for split, utterances in splits.items():
        for id, u in utterances.items():
            if u.duration:
                line = f"{split}\n{id}\n{u.duration}\n"
                digest.update(line.encode(errors="backslashreplace"))
    return digest.hexdigest()


def known_before(
    splits: dict[str, dict[str, Utterance]], folder: Path, copies: Path | None, longest: float
) -> dict[str, set[str]]:
    """Gives utterances the length that an earlier run found; the ids of those, by split. What would
    be cut now, as it is longer than `longest` and has no labels, is not among them."""
    measured: dict[str, set[str]] = {split: set() for split in splits}
    written = written_before(folder)
    if not written.claims:
        return measured
    when = (folder / WRITTEN).stat().st_mtime
    same_claims = written.claims == claims(splits)
    for name in written.manifests:
        manifest = folder / name
        if not manifest.is_file():
            continue
        for line in read_lines(manifest, ("id", "audio", "duration", "language", "start")):
            for split, utterances in splits.items():
                if isinstance(line.found, str) or line.found.id in measured[split]:
                    continue
                u = utterances.get(line.found.id)
                if u is None:
                    continue
                same = same_claims and name == f"{split}.jsonl"  # an id may be in two splits
                before = _known(u, copies, line.found, when, same)
                if before and (before.labelled or before.duration <= longest):
                    utterances[u.id] = before
                    measured[split].add(u.id)
    return measured


def _known(
    u: Utterance, copies: Path | None, before: Utterance, when: float, same_claims: bool
) -> Utterance | None:
    """The utterance as an earlier run measured and listed it at the time `when`, if it did and the
    file has not changed since.

    The time of a file here is that of its last change of any kind (ctime), which unpacking an
    archive does not set back. Which channel a copy is of is in its name; how many a file has is
    nowhere.
    """
    if copies is None and "channel" in u.extra:
        return None
    try:
        changed = os.stat(u.audio).st_ctime
        copy = None if copies is None else os.path.join(copies, copy_name(u))
        if copy is not None:
            changed = max(changed, os.stat(copy).st_ctime)
    except OSError:
        return None
    audio, start = (u.audio, u.start) if copy is None else (copy, 0.0)
    same = str(before.audio) == os.path.abspath(audio) and abs(before.start - start) < SHORTEST
    # Of a whole file a length that is listed is corrected, and so again if it is the same.
    if copy is None and not same_claims and abs(u.duration - before.duration) > SHORTEST:
        same = False
    if not same or changed >= when:
        return None
    return Piece(u.id, u.start, before.duration, copy).of(u)
