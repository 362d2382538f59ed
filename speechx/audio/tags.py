"""Where the tags of a file end and begin: ID3, APE and Lyrics3, before and behind the sound.

Players write them into files of every kind, also where the format has no place for them.
"""

from collections.abc import Callable

Read = Callable[[int, int], bytes]
"""The bytes of a file from a position, at most so many."""

MOST_TAGS = 32  # one after another
ID3_HEAD, ID3V1, APE_SIZE, LYRICS_TAIL = 10, 128, 32, 15


def after(read: Read, at: int, end: int) -> int:
    """Where the tags that begin at `at` end; `at` where none does."""
    for _ in range(MOST_TAGS):
        size = tag_size(read(at, APE_SIZE))
        if not size or at + size > end:
            break
        at += size
    return at


def tag_size(head: bytes) -> int:
    """Bytes of the tag that begins with these; 0 if they are none."""
    if head[:3] == b"ID3" and len(head) >= ID3_HEAD and head[3] < 0xFF and max(head[6:10]) < 0x80:
        footer = ID3_HEAD if head[5] & 0x10 else 0
        return ID3_HEAD + footer + _syncsafe(head[6:10])
    if head[:8] == b"APETAGEX" and len(head) >= APE_SIZE and head[23] & 0x20:  # it is a header
        return APE_SIZE + int.from_bytes(head[12:16], "little")
    if head[:3] == b"TAG" and len(head) >= APE_SIZE:
        return ID3V1
    return 0


def before(read: Read, begin: int, end: int) -> int:
    """Where the tags that stand at the end of the file begin; `end` where there is none."""
    for _ in range(MOST_TAGS):
        size = _size_behind(read, begin, end)
        if not size or end - size < begin:
            break
        end -= size
    return end


def _size_behind(read: Read, begin: int, end: int) -> int:
    if end - begin >= ID3V1 and read(end - ID3V1, 3) == b"TAG":
        return ID3V1
    tail = read(max(begin, end - APE_SIZE), min(APE_SIZE, end - begin))
    if len(tail) == APE_SIZE and tail[:8] == b"APETAGEX":
        return int.from_bytes(tail[12:16], "little") + (APE_SIZE if tail[23] & 0x80 else 0)
    if tail.endswith(b"LYRICS200") and tail[-LYRICS_TAIL:-9].isdigit():
        return int(tail[-LYRICS_TAIL:-9]) + LYRICS_TAIL
    if tail.endswith(b"LYRICSEND"):  # the first version has no length, but at most 5,100 bytes
        text = read(max(begin, end - 5120), 5120)
        found = text.rfind(b"LYRICSBEGIN")
        return len(text) - found if found >= 0 else 0
    if tail[-10:-7] == b"3DI" and max(tail[-4:]) < 0x80:
        return 2 * ID3_HEAD + _syncsafe(tail[-4:])
    return 0


def _syncsafe(four: bytes) -> int:
    return sum(byte << 7 * place for place, byte in enumerate(reversed(four)))
