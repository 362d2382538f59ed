"""The pieces of a SentencePiece model, in which fairseq2 keeps the symbols of a CTC head.

The file is a protocol buffer. Of its many fields only the list of pieces is read, and only the
fields of a model of single characters are written:

    1 piece: 1 text, 2 score, 3 type (1 normal, 2 unknown, 3 control, 4 of the user, 5 unused)
    2 training: 3 type of model (4 characters), 4 size, 40 to 43 ids of <unk> <s> </s> <pad>
    3 normalising: 3 dummy prefix, 4 extra spaces removed, 5 spaces escaped as \u2581
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechx.errors import UserError

SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5
"""Types of pieces; type 4, defined by the user, is text like type 1."""


def read_pieces(path: Path) -> tuple[tuple[str, ...], frozenset[str]]:
    """All pieces in their order, and the pieces that stand for no text."""
    pieces, others = [], set()
    try:
        for number, value in _fields(path.read_bytes()):
            if number != 1 or not isinstance(value, bytes):
                continue
            inner = dict(_fields(value))
            text, kind = inner[1], inner.get(3, NORMAL)
            if not isinstance(text, bytes):
                raise ValueError("a piece is not text")
            pieces.append(text.decode("utf-8"))
            if kind in (UNKNOWN, CONTROL, UNUSED):
                others.add(pieces[-1])
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{path} cannot be read as a SentencePiece model: {error!r}") from None
    return tuple(pieces), frozenset(others)


def write_characters(path: Path, symbols: Sequence[str]) -> None:
    """A model of single characters; the first symbols are <s> <pad> </s> <unk>."""
    special = {"<s>": CONTROL, "<pad>": CONTROL, "</s>": CONTROL, "<unk>": UNKNOWN}
    content = b""
    for symbol in symbols:
        text = (SPACE if symbol in ("|", " ") else symbol).encode()
        score = _key(2, 5) + bytes(4)  # 0.0
        piece = _bytes(1, text) + score + _int(3, special.get(symbol, NORMAL))
        content += _bytes(1, piece)
    rows = {symbol: row for row, symbol in enumerate(symbols)}
    training = _int(3, 4) + _int(4, len(symbols))
    for number, symbol in ((40, "<unk>"), (41, "<s>"), (42, "</s>"), (43, "<pad>")):
        training += _int(number, rows[symbol])
    normalising = _bytes(1, b"identity") + _int(3, 0) + _int(4, 1) + _int(5, 1)
    path.write_bytes(content + _bytes(2, training) + _bytes(3, normalising))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of every field of a message; numbers, or the bytes of anything else."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        match key & 7:
            case 0:
                value, place = _varint(data, place)
                yield key >> 3, value
            case 1 | 5 | 2 as wire:
                size = {1: 8, 5: 4}.get(wire, 0)
                if wire == 2:
                    size, place = _varint(data, place)
                if place + size > len(data):
                    raise ValueError("it is truncated")
                yield key >> 3, data[place : place + size]
                place += size
            case other:
                raise ValueError(f"it has a field of kind {other}")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value, place = value | (byte & 127) << shift, place + 1
        if byte < 128:
            return value, place
        shift += 7


def _key(number: int, wire: int) -> bytes:
    return _number(number << 3 | wire)


def _number(value: int) -> bytes:
    result = b""
    while value > 127:
        result, value = result + bytes([value & 127 | 128]), value >> 7
    return result + bytes([value])


def _int(number: int, value: int) -> bytes:
    return _key(number, 0) + _number(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _key(number, 2) + _number(len(value)) + value
