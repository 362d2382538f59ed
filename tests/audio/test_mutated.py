"""Mutated files of every kind are read or are a UserError, quickly."""

import time
from pathlib import Path

import numpy as np
import pytest

from speechx.audio.files import audio_info, check_audio, read_audio
from speechx.errors import UserError
from tests.audio.broken_files import ID3_V1, ape, file_of, id3, noise

KINDS = ("WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "MP3", "OGG", "OPUS", "VOC")
LENGTHS = (bytes(4), b"\xff\xff\xff\xff", b"\x7f\0\0\0")
ROUNDS = 24


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Changed bytes, most of them in the header; a cut, a hole, something else around it."""
    content = bytearray(data)
    for _ in range(int(random.integers(0, 6))):
        region = 120 if random.random() < 0.7 else len(content)
        content[random.integers(0, min(region, len(content)))] = random.integers(0, 256)
    kind = random.integers(0, 8)
    at = int(random.integers(0, len(content)))
    if kind == 0:
        del content[at:]
    elif kind == 1:
        content[at : at + 300] = random.bytes(300)
    elif kind == 2:
        content[at : at + 500] = b""
    elif kind == 3:
        content += random.bytes(700)
    elif kind == 4:
        content = bytearray(id3(200) + content + ape() + ID3_V1)
    elif kind == 5:
        content = content * 2
    elif kind == 6:
        place = int(random.integers(0, 110))
        content[place : place + 4] = random.choice(
            [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\0\0\0"]
        )
    return bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_read_or_a_user_error(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    random, path = np.random.default_rng(KINDS.index(kind)), tmp_path / "a.bin"
    data = file_of(kind, noise(0.5, 1 + KINDS.index(kind) % 2))
    for _ in range(ROUNDS):
        path.write_bytes(mutated(data, random))
        begun = time.monotonic()
        for read in (check_audio, audio_info, read_audio):
            message = f"{path}: "
            try:
                read(path)
            except UserError as error:
                message = str(error)
            assert message.startswith(f"{path}: ")
            assert "\n" not in message
        assert time.monotonic() - begun < 20
