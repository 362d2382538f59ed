"""Recordings that are parts of an archive, as Kaldi and kaldiio write them: `wav.ark:3`.

An archive is a row of `key sound`; the number is the offset of a sound. It begins as a WAV, whose
header has its size, or with the word AUDIO and the size of a file of any format. Utterances list
such a part by `bytes`, as utterances in shards do; only `--convert` makes a copy of it.
"""

import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from speechx.audio.files import AudioInfo, audio_info
from speechx.audio.sources import Part, read_bytes, source_name
from speechx.corpora.engine.cache import MeasuredFiles, NotMeasured
from speechx.corpora.engine.copies import Found
from speechx.corpora.engine.measure import Listed, Rules, examine
from speechx.corpora.engine.problems import Problem
from speechx.errors import UserError

HEAD_BYTES = 16


def part_at(archive: Path, offset: int) -> Part:
    """Offset and size of the sound file at an offset of an archive; a UserError if none is."""
    name = f"{archive}:{offset}"
    try:
        with archive.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(min(offset, size))
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None
    if head[:4] == b"RIFF":
        begin, length = offset, 8 + int.from_bytes(head[4:8], "little")
    elif head[:5] == b"AUDIO":
        width = head[5] if len(head) > 5 else 0
        begin, length = offset + 6 + width, int.from_bytes(head[6 : 6 + width], "little")
    elif head[:2] == b"\0B":
        raise UserError(f"{name}: holds a matrix (features), but sound was expected")
    else:
        raise UserError(f"{name}: no sound begins there (expected WAV or AUDIO); check the offset")
    if not 0 < length <= size - begin:
        raise UserError(
            f"{name}: its header promises {length} bytes, but {max(0, size - begin)} follow; copy "
            "the archive again, or make files of it: wav-copy"
        )
    return begin, length


class _PartInfo(MeasuredFiles):
    """What one part of a file holds."""

    def __init__(self, part: Part) -> None:
        super().__init__(opens=True)
        self.part = part

    def info(self, path: str | Path, exact: bool = False) -> AudioInfo:
        info = audio_info(path, exact=exact, part=self.part)
        if info.cut:
            raise UserError(f"{source_name(path, self.part)}: {info.cut}")
        return info


def examine_source(measured: MeasuredFiles, listed: Listed, rules: Rules) -> list[Found]:
    """`examine` of a whole file, or of a part of one, which is not remembered."""
    u = listed[0][0]
    if u.bytes is None:
        return examine(measured, listed, rules)
    if not measured.opens:
        raise NotMeasured
    name = source_name(u.audio, u.bytes)
    if rules.copies is None:
        return _renamed(examine(_PartInfo(u.bytes), listed, rules), str(u.audio), name)
    archive = Path(u.audio)
    # Another run has another file, and `remove_leftovers` knows the name.
    file = rules.copies / f".archive.part.{secrets.token_hex(4)}.part"
    try:
        rules.copies.mkdir(parents=True, exist_ok=True)
        file.write_bytes(read_bytes(archive, u.bytes))
        status = archive.stat()
        source = os.path.abspath(name), status.st_size, status.st_mtime_ns
        parts = [(replace(u, audio=file, bytes=None), channel) for u, channel in listed]
        found = examine(MeasuredFiles(opens=True), parts, rules._replace(source=source))
        return _renamed(found, str(file), name)
    except UserError as error:
        return [Problem.of(error, name)] * len(listed)
    finally:
        file.unlink(missing_ok=True)


def _renamed(found: Sequence[Found], path: str, name: str) -> list[Found]:
    """Problems with the name of the part, where they name the whole file."""
    whole = re.compile(rf"{re.escape(path)}(?!\[)")

    def renamed(text: str) -> str:
        return whole.sub(lambda _: name, text)

    return [
        Problem(renamed(f.where), renamed(f.why)) if isinstance(f, Problem) else f for f in found
    ]
