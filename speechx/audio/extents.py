"""How long the sound of a file is, where its header has another length.

A recorder that is killed leaves a length of 0 in the header, a program that writes to a pipe leaves
an impossible one, and 32 bits are too few for four gigabytes. Then the sound goes to the end of the
file. If the stated length is larger than the file, the file was cut off. Any other length is
trusted, and what stands behind is no sound: tags, chunks, another file, or bytes that are named in
the log. Only as many bytes again, or more, are sound too, unless they are text or all alike.

WAV (also RF64 and Wave64), AIFF and Core Audio are chunks, a name and a length before each; one of
them is the sound. Sun audio has one length.
"""

import math
import struct
from dataclasses import dataclass
from typing import NamedTuple

from speechx.audio import tags
from speechx.audio.containers import is_text
from speechx.audio.spliced import Piece
from speechx.audio.tags import Read

MOST_CHUNKS = 1000
STREAM_BYTES = 0x7FFF0000  # programs write this or more for a length that they do not know
LEAST_BEYOND = 1024  # bytes; less behind the sound is no sound
BLOCK_BYTES = 1 << 20
KNOWN = frozenset(
    (b"LIST", b"fact", b"bext", b"iXML", b"cue ", b"JUNK", b"junk", b"PAD ", b"FLLR", b"id3 ",
     b"ID3 ", b"smpl", b"inst", b"axml", b"_PMX", b"cart", b"PEAK", b"acid", b"afsp", b"plst",
     b"levl", b"MARK", b"COMT", b"NAME", b"AUTH", b"ANNO", b"INST", b"APPL", b"(c) ", b"info",
     b"strg", b"mark", b"uuid", b"chan", b"free", b"pakt", b"kuki")
)  # fmt: skip


class Extent(NamedTuple):
    """The pieces to read, or None to read the whole file; `promised` is the length in the header
    divided by the length that is present."""

    pieces: list[Piece] | None
    promised: float = 1.0
    rest: int = 0
    """Where another file begins that was joined to it."""
    note: str = ""
    """What the user should know."""


@dataclass(frozen=True, slots=True)
class Form:
    """How the chunks of a format are written."""

    sound: bytes
    """Name of the chunk that is sound."""
    size: str = "<I"
    first: int = 12
    """Where the first chunk begins."""
    pad: int = 2
    """Chunks begin at multiples of this."""
    counts_head: bool = False
    """Whether a length counts the name and itself."""
    most: int = STREAM_BYTES
    """Lengths from here on mean that it is not known."""

    @property
    def head(self) -> int:
        return len(self.sound) + struct.calcsize(self.size)


WAV = Form(b"data")
FORMS = {
    (b"RIFF", b"WAVE"): WAV,
    (b"RF64", b"WAVE"): WAV,
    (b"BW64", b"WAVE"): WAV,
    (b"RIFX", b"WAVE"): Form(b"data", ">I"),
    (b"FORM", b"AIFF"): Form(b"SSND", ">I"),
    (b"FORM", b"AIFC"): Form(b"SSND", ">I"),
    (b"FORM", b"8SVX"): Form(b"BODY", ">I"),
    (b"FORM", b"16SV"): Form(b"BODY", ">I"),
}
CAF = Form(b"data", ">Q", first=8, pad=1, most=1 << 48)
W64 = Form(
    b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", "<Q", first=40, pad=8,
    counts_head=True, most=1 << 48,
)  # fmt: skip
W64_MAGIC = b"riff\x2e\x91\xcf\x11"
AU = {b".snd": ">I", b"dns.": "<I"}
LONG_WAV = (b"RF64", b"BW64")
PACKETS = (b"GSM ", b"ima4", b"ADPC", b"DWVW", b"agsm")  # an AIFF counts no samples of these
EVEN_CAF = (b"lpcm", b"ulaw", b"alaw")  # a second has always as many bytes


def extent(head: bytes, read: Read, end: int) -> Extent:
    """The extent of a file of `end` bytes that begins with `head`; of other formats, the file as
    it is."""
    if head[36:40] == b"data" and 44 + int.from_bytes(head[40:44], "little") == end:
        return Extent(None)  # nearly every wav
    if (order := AU.get(head[:4])) is not None and len(head) >= 24:
        start = struct.unpack_from(order, head, 4)[0]
        return _corrected(Form(b"", order, first=start), read, 8, start, end)
    if head.startswith(b"caff"):
        form: Form | None = CAF
    elif head.startswith(W64_MAGIC):
        form = W64
    else:
        form = FORMS.get((head[:4], head[8:12]))
    if form is None:
        return Extent(None)
    chunks = _chunks(form, read, end)
    if form.sound not in chunks:
        return Extent(None)
    start = chunks[form.sound]
    place = start - struct.calcsize(form.size)
    if head[:4] in LONG_WAV and b"ds64" in chunks:
        form = Form(b"data", "<Q", most=1 << 48)
        place = chunks[b"ds64"] + 8
    found = _corrected(form, read, place, start, end)
    pieces, promised = found.pieces, found.promised
    if b"COMM" in chunks and head.startswith(b"FORM"):
        uncounted = read(chunks[b"COMM"] + 2, 4) == bytes(4)
        if pieces is not None or uncounted:
            pieces = _with_frames(pieces or [(0, end)], read, chunks[b"COMM"], start)
    if promised > 1 and form is CAF and read(chunks.get(b"desc", 0) + 8, 4) not in EVEN_CAF:
        promised = math.inf
    if head[:4] in LONG_WAV and b"ds64" in chunks:
        pieces = _with_riff_size(pieces or [(0, end)], chunks[b"ds64"], end)
    if head.startswith(b"BW64"):  # the same by a name that libsndfile does not know
        pieces = [b"RF64", *_without(4, pieces or [(0, end)])]
    return found._replace(pieces=pieces, promised=promised)


def _with_riff_size(pieces: list[Piece], at: int, end: int) -> list[Piece]:
    """RF64 has the size of the whole file too, at `at`."""
    first = pieces[0]
    assert isinstance(first, tuple)
    return [(0, at), struct.pack("<Q", end), (at + 8, first[1]), *pieces[1:]]


def _without(size: int, pieces: list[Piece]) -> list[Piece]:
    """The pieces without their first bytes."""
    first = pieces[0]
    rest = first[size:] if isinstance(first, bytes) else (first[0] + size, first[1])
    return [rest, *pieces[1:]]


def _chunks(form: Form, read: Read, end: int) -> dict[bytes, int]:
    """Where the chunks up to the sound begin, behind their heads."""
    at, found = form.first, {}
    for _ in range(MOST_CHUNKS):
        head = read(at, form.head)
        if len(head) < form.head:
            break
        name = head[: len(form.sound)]
        found[name] = at + form.head
        if name == form.sound:
            break
        at = _behind(form, at, head)
        if not form.first <= at < end:
            break
    return found


def _behind(form: Form, at: int, head: bytes) -> int:
    """Where the chunk after the one at `at` begins."""
    size = struct.unpack(form.size, head[len(form.sound) :])[0]
    behind = at + max(form.head, size if form.counts_head else form.head + size)
    return behind + -behind % form.pad


def _corrected(form: Form, read: Read, place: int, start: int, end: int) -> Extent:
    """The file with the right length at `place`."""
    width = struct.calcsize(form.size)
    stored = read(place, width)
    if len(stored) < width or start >= end:
        return Extent(None)
    counted = form.head if form.counts_head else 0
    claim = max(0, struct.unpack(form.size, stored)[0] - counted)
    if end - claim % form.pad <= start + claim <= end:
        return Extent(None)
    end = tags.before(read, start, end)
    present, promised = end - start, 1.0
    note = ""
    if (behind := start + claim) < end:
        reached = max(_behind_chunks(form, read, at, end) for at in (behind, behind + behind % 2))
        if reached < end and _is_file(read(reached, 12)):
            return Extent([(0, reached)], rest=reached)
        if reached >= end or (claim and not goes_on(read, behind, claim, end)):
            if end - max(reached, behind) >= LEAST_BEYOND:
                note = f"{end - behind} bytes behind its sound are left out"
            # libsndfile stops at the claimed end, but not in a Wave64
            return Extent([(0, behind)] if form is W64 else None, note=note)
        if claim:
            note = f"its header has {claim} bytes of sound, but {end - behind} more are behind them"
    elif claim < form.most:
        promised = claim / present if present else 1.0
    most = (1 << 8 * width) - 1
    if present > most and form is WAV:
        return Extent(_long_wav(place, present, end), promised, note=note)
    size = struct.pack(form.size, min(present + counted, most))
    return Extent([(0, place), size, (place + width, end)], promised, note=note)


def _long_wav(place: int, present: int, end: int) -> list[Piece]:
    """A WAV of more than four gigabytes, with the header that has room for its length."""
    unknown = b"\xff" * 4
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, end + 28, present, 0, 0)
    head = b"RF64" + unknown + b"WAVE" + sizes
    return [head, (12, place), unknown, (place + 4, end)]


def goes_on(read: Read, at: int, claim: int, end: int) -> bool:
    """Whether what stands behind the claimed end, at `at`, is sound too."""
    if end - at < max(LEAST_BEYOND, claim) or is_text(read(at, 4096)):
        return False
    alike = read(at, 1)
    blocks = (read(place, BLOCK_BYTES) for place in range(at, end, BLOCK_BYTES))
    return any(block.strip(alike) for block in blocks)


def _behind_chunks(form: Form, read: Read, at: int, end: int) -> int:
    """Where the chunks and tags from `at` on end: at `end`, or before a file or something else."""
    for _ in range(MOST_CHUNKS):
        at = tags.after(read, at, end)
        if at >= end - 1:  # a byte may fill the last chunk
            return end
        head = read(at, form.head)
        name = head[:4]
        if not form.sound or len(head) < form.head or _is_file(read(at, 12)):
            break
        behind = _behind(form, at, head)
        if name not in KNOWN and (behind > end + 1 or not name.isascii() or min(name) < 0x20):
            break
        at = behind
    return at


def _is_file(head: bytes) -> bool:
    return (head[:4], head[8:]) in FORMS


def _with_frames(pieces: list[Piece], read: Read, at: int, start: int) -> list[Piece]:
    """AIFF has the number of frames too, in another chunk, at `at`."""
    channels, _, bits = struct.unpack(">HIH", read(at, 8).ljust(8, b"\0"))
    if read(at + 18, 4) in PACKETS:
        return pieces
    (first, last), width = (pieces[0], pieces[-1]), channels * -(-bits // 8)
    if not width or isinstance(first, bytes) or isinstance(last, bytes):
        return pieces
    frames = struct.pack(">I", min((last[1] - start - 8) // width, 0xFFFFFFFF))
    return [(0, at + 2), frames, (at + 6, first[1]), *pieces[1:]]
