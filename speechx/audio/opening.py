"""Opens any audio file: the one place that decides what a file is and how it is read.

What the file is called does not matter. Tags around the sound are left out, a wrong length is
corrected (extents.py, flac.py, mpeg.py), and files that were joined are read one after another.
libsndfile decodes, sphere.py reads NIST SPHERE, and ffmpeg, if it is installed, whatever libsndfile
does not know.
"""

import errno
import io
import math
import mmap
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import soundfile

from speechx.audio import flac, mpeg, ogg, tags
from speechx.audio.containers import KNOWN, other_name, sound_name
from speechx.audio.decoders import Converted, Decoded, Flac, Joined, OpenSound
from speechx.audio.extents import Extent, extent
from speechx.audio.plain_wav import plain_wav
from speechx.audio.sources import Key, Part, is_url, key_of, read_bytes, source_name
from speechx.audio.sphere import HIGHEST_RATE, LOWEST_RATE, SphereSound
from speechx.audio.sphere import MAGIC as SPHERE
from speechx.audio.spliced import Piece, Spliced
from speechx.errors import UserError
from speechx.log import logger

READABLE = "wav, flac, mp3, ogg, opus or NIST SPHERE"
FFMPEG_SUFFIXES = frozenset(
    (".m4a", ".mp4", ".m4b", ".aac", ".webm", ".weba", ".mkv", ".mka", ".mov", ".wma", ".amr",
     ".awb", ".3gp", ".3g2", ".3ga", ".qta", ".spx", ".ac3", ".wv", ".ape", ".tta", ".mpc")
)  # fmt: skip
AUDIO_SUFFIXES = FFMPEG_SUFFIXES | {
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".mp3", ".mp2", ".mpga", ".ogg", ".oga"),
    *(".opus", ".sph", ".nist", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"),
}
HEAD_BYTES = 1024
# O_NONBLOCK, because opening a pipe without a writer would block.
OPENING = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
IN_MEMORY = 1 << 24  # bytes; of a larger file the system reads what is looked at
MOST_JOINED = 10_000
REMEMBERED = 1 << 16  # files that are one stream and nothing else
REMEMBERED_LAYOUTS = 256  # other files
CUT_BEFORE = "the file is cut off before its first sound. Copy it again."
CUT_WORDS = ("ended prematurely", "partial file", "truncated")  # of ffmpeg
Layout = list[Extent]
"""The sounds of a file, one after another."""


@contextmanager
def open_sound(path: str | Path, part: Part | None = None) -> Iterator[OpenSound]:
    """Opens a file; a UserError says why it is not audio.

    A local file is opened only once, both for its first bytes and for libsndfile: short clips are
    then read as fast as by libsndfile alone.
    """
    name = source_name(path, part)
    if part is not None or is_url(path):
        data = read_bytes(path, part)
        if plain := plain_wav(data):
            yield plain
            return
        with io.BytesIO(data) as memory:
            head = data[:HEAD_BYTES]
            yield from _opened(memory, memory, head, len(data), path, name)
        return
    descriptor = -1
    try:
        descriptor = os.open(path, OPENING)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a directory, a pipe or a device")
        file = io.FileIO(descriptor, closefd=False)
        head = file.read(HEAD_BYTES)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise UserError(f"{name}: cannot be read as audio: {error.strerror}.") from error
    try:
        yield from _opened(file, descriptor, head, status.st_size, path, name)
    finally:
        os.close(descriptor)


def _opened(
    file: BinaryIO, direct: int | BinaryIO, head: bytes, size: int, path: str | Path, name: str
) -> Iterator[OpenSound]:
    """`direct` is what libsndfile is given if the file can be read as it is."""
    if not head:
        raise UserError(f"{name}: the file is empty (0 bytes), but audio was expected.")
    read = _reader(file, head)
    if begin := tags.after(read, 0, size):
        head = read(begin, HEAD_BYTES)
    if head.startswith(SPHERE):
        file.seek(0)
        plain = io.BufferedReader(file) if isinstance(file, io.FileIO) else file
        sphere = SphereSound(_behind(begin, plain, size), name)
        if sphere.note:
            log_once(f"{name}: {sphere.note}")
        yield sphere
        return
    with ExitStack() as stack:
        try:
            sound = _decoded(file, direct, head, begin, size, name, stack)
        except _Cut as error:
            raise UserError(f"{name}: {CUT_BEFORE}") from error
        except soundfile.LibsndfileError as error:
            sound = stack.enter_context(_through_ffmpeg(file, path, name, head, error))
        if sound.frames == 0 and math.isinf(sound.promised):
            raise UserError(f"{name}: {CUT_BEFORE}")
        if not LOWEST_RATE <= sound.samplerate <= HIGHEST_RATE:
            raise UserError(f"{name}: its header claims a sample rate of {sound.samplerate} Hz.")
        yield sound


class _Cut(Exception):
    """Nothing that can be decoded is left of a file."""


def _decoded(
    file: BinaryIO,
    direct: int | BinaryIO,
    head: bytes,
    begin: int,
    size: int,
    name: str,
    stack: ExitStack,
) -> OpenSound:
    """The sound that libsndfile finds in the file."""

    def decoded(one: Extent) -> Decoded:
        file.seek(0)
        if one.note:
            log_once(f"{name}: {one.note}")
        source = direct if one.pieces is None else Spliced(file, one.pieces)
        sound = Decoded(source, one.promised)
        stack.callback(sound.close)
        return sound

    if head.startswith(flac.MAGIC):
        source = Spliced(file, [(begin, size)]) if begin else direct
        file.seek(0)
        sound = Flac(
            source, file, size, lambda: _counted(file, head, begin, size),
            lambda: _mended(file, begin, size, name),
        )  # fmt: skip
        stack.callback(lambda: sound.close())
        return sound
    layout = _layout(file, head, begin, size)
    try:
        sounds: list[OpenSound] = [decoded(layout[0])]
    except soundfile.LibsndfileError as error:
        if layout[0].promised > 1:
            raise _Cut from error
        if sound_name(head) not in (None, "WAV") or not (layout := _mp3(file, 0, size)):
            raise
        sounds = [decoded(layout[0])]
    for number, one in enumerate(layout[1:], start=2):
        try:
            sounds.append(decoded(one))
        except soundfile.LibsndfileError:
            if number < len(layout) or one.promised == 1:
                raise
            sounds[-1].promised = math.inf  # only its first bytes are there
            break
        first, later = sounds[0], sounds[-1]
        if (first.samplerate, first.channels) != (later.samplerate, later.channels):
            sounds[-1] = Converted(later, first, lambda what: log_once(f"{name}: {what}"))
            log_once(
                f"{name}: it holds {len(layout)} recordings, of which number {number} has "
                f"{later.samplerate} Hz and {later.channels} channels; it is converted to "
                f"{first.samplerate} Hz and {first.channels} channels, as the first has"
            )
    return sounds[0] if len(sounds) == 1 else Joined(sounds)


WHOLE = [Extent(None)]
_whole: set[Key] = set()
_known: dict[Key, Layout] = {}


def _layout(file: BinaryIO, head: bytes, begin: int, size: int) -> Layout:
    """The sounds of a file. What was found by going through all of it is remembered: training
    reads its files again and again."""
    find: Callable[[BinaryIO, int, int], Layout]
    if head.startswith(ogg.PAGE):
        find = _ogg
    elif mpeg.frame(head[:4]) is not None:
        find = _mp3
    else:
        return list(_extents(file, head, begin, size))
    if (key := key_of(file)) is None:
        return find(file, begin, size) or WHOLE
    if key in _whole:
        return WHOLE
    if (found := _known.get(key)) is not None:
        return found
    found = find(file, begin, size) or WHOLE
    if found == WHOLE:
        if len(_whole) >= REMEMBERED:
            _whole.clear()
        _whole.add(key)
    else:
        if len(_known) >= REMEMBERED_LAYOUTS:
            _known.clear()
        _known[key] = found
    return found


def _behind(begin: int, file: BinaryIO, size: int) -> BinaryIO:
    """The file without what stands before `begin`."""
    return cast(BinaryIO, Spliced(file, [(begin, size)])) if begin else file


def _reader(file: BinaryIO, head: bytes) -> tags.Read:
    """Reads a file whose first bytes are known."""

    def read(at: int, most: int) -> bytes:
        if at + most <= len(head):
            return head[at : at + most]
        file.seek(at)
        return file.read(most)

    return read


def _extents(file: BinaryIO, head: bytes, begin: int, size: int) -> Iterator[Extent]:
    """The sounds of a file of chunks."""
    for _ in range(MOST_JOINED):
        read = _reader(_behind(begin, file, size), head)
        found = extent(head, read, size - begin)
        if begin:
            whole: list[Piece] = [(0, size - begin)]
            pieces = [
                piece if isinstance(piece, bytes) else (piece[0] + begin, piece[1] + begin)
                for piece in found.pieces or whole
            ]
            found = found._replace(pieces=pieces)
        yield found
        if not found.rest:
            return
        head = read(found.rest, HEAD_BYTES)
        begin += found.rest


def _ogg(file: BinaryIO, begin: int, size: int) -> Layout:
    with _contents(file) as data:
        end = tags.before(lambda at, most: data[at : at + most], begin, size)
        found = ogg.links(data, begin, end)
    promised = math.inf if found.cut else 1.0
    damaged = f"the pages of this Ogg that are damaged, and whose sound is lost: {found.damaged}"
    note = damaged if found.damaged else ""
    if len(found.starts) < 2 and (begin, end) == (0, size):
        return [Extent(None, promised, note=note)]
    ends = [*found.starts[1:], end]
    parts = zip(found.starts, ends, strict=True)
    return [
        Extent([part], promised if part[1] == end else 1.0, note="" if part[0] > begin else note)
        for part in parts
    ]


def _mp3(file: BinaryIO, begin: int, size: int) -> Layout:
    with _contents(file) as data:
        end = tags.before(lambda at, most: data[at : at + most], begin, size)
        if mpeg.is_whole(data, begin, end):
            return [Extent(None)]
        found = mpeg.streams(data, begin, end)
    if any(stream.one.kind.layer != 3 for stream in found):
        return [Extent([(begin, end)])]
    return [Extent(stream.pieces(), stream.promised()) for stream in found]


def _counted(file: BinaryIO, head: bytes, begin: int, size: int) -> int | None:
    read = _reader(file, b"")
    end = tags.before(read, begin, size)
    if flac.is_too_long(head, end - begin):
        with _contents(file) as data:
            if flac.is_joined(data, begin, end):
                return 0
    first = max(begin, end - flac.TAIL_BYTES)
    return flac.counted(read(first, end - first))


def _mended(file: BinaryIO, begin: int, size: int, name: str) -> tuple[list[Piece], bool] | None:
    with _contents(file) as data:
        end = tags.before(lambda at, most: data[at : at + most], begin, size)
        if flac.is_joined(data, begin, end):
            raise UserError(
                f"{name}: it holds several FLAC files, of which only the first would be read; "
                "join them: ffmpeg -i IN.flac OUT.flac"
            )
        return flac.mended(data, begin, end)


@contextmanager
def _contents(file: BinaryIO) -> Iterator[Any]:
    """The bytes of a whole file, or an mmap of them."""
    if isinstance(file, io.BytesIO):
        yield file.getvalue()
    elif os.fstat(file.fileno()).st_size <= IN_MEMORY:
        file.seek(0)
        yield file.read()
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


@contextmanager
def _through_ffmpeg(
    file: BinaryIO, path: str | Path, name: str, head: bytes, error: Exception
) -> Iterator[OpenSound]:
    """Decodes a file with ffmpeg into a temporary wav with the same rate and channels."""
    program, sound, other = shutil.which("ffmpeg"), sound_name(head), other_name(head)
    suffix = Path(path).suffix.lower()
    if program is None or (sound is None and other is not None):
        raise UserError(_refusal(name, suffix, sound, other)) from error
    with tempfile.TemporaryDirectory() as folder:
        given, wav = Path(path).absolute(), Path(folder) / "decoded.wav"
        if isinstance(file, io.BytesIO):
            given = Path(folder) / "given"
            given.write_bytes(file.getbuffer())
        source = ["-protocol_whitelist", "file", "-i", f"file:{given}"]
        target = ["-vn", "-sn", "-dn", "-rf64", "auto", "-c:a", "pcm_f32le", str(wav)]
        command = [program, "-nostdin", "-v", "error", *source, *target]
        done = subprocess.run(command, capture_output=True)
        messages = done.stderr.decode(errors="replace").strip().splitlines()
        if done.returncode != 0 or not wav.exists():
            why = messages[-1] if messages else "no audio"
            known = f"{name}: " if sound else f"{name}: not audio that can be read: "
            raise UserError(f"{known}ffmpeg cannot decode it: {why}.") from error
        decoded = Decoded(str(wav))
        try:
            if any(word in line for line in messages for word in CUT_WORDS):
                decoded.promised = math.inf
            elif messages:
                log_once(f"{name}: ffmpeg reports: {messages[-1]}")
            yield decoded
        finally:
            decoded.close()


@lru_cache(maxsize=1 << 12)
def log_once(line: str) -> None:
    """Logs each line once, because a file may be opened often."""
    logger.info(line)


def _refusal(name: str, suffix: str, sound: str | None, other: str | None) -> str:
    """Why a file cannot be read without ffmpeg."""
    missing = (
        "the ffmpeg program, which is not installed. Install it, or convert the file elsewhere: "
        f"ffmpeg -i IN{suffix} OUT.wav"
    )
    if sound is not None:
        why = "damaged, or in a coding that" if sound in KNOWN else "a format that"
        return f"{name}: this is {sound}, {why} libsndfile cannot read; it needs {missing}"
    if other is not None:
        return f"{name}: not audio that can be read (expected {READABLE}): this is {other}."
    if suffix in FFMPEG_SUFFIXES:
        return f"{name}: {suffix} needs {missing}"
    return f"{name}: not audio that can be read (expected {READABLE})."
