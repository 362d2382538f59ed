"""Features on disk: shards, each written whole or not at all, and an index with a line for each
utterance.

    index.jsonl              {"id": ..., "shard": "features-00000.safetensors", "frames": 191, ...}
    features-00000.safetensors   a tensor (T, D) or (T, L, D) for each utterance, by its id
    features-00000.npy       one array of the frames of all utterances; an `offset` in the index

The frames of an utterance go to the disk as they come, so memory holds none of a shard. A run that
is killed leaves whole shards and perhaps an index that ends early: `FeatureShards` takes both back
to the last shard that is complete.

    N ids · T frames · L layers · D = embed_dim · R runs of equal units
"""

import json
import os
import shutil
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from speechx.data.manifest import json_line
from speechx.errors import UserError
from speechx.models.units import UnitCodebook, runs_of
from speechx.whole_file import whole_file

INDEX, UNITS = "index.jsonl", "units.jsonl"
FORMATS = ("safetensors", "npy")
DTYPES = {"float32": "F32", "float16": "F16"}
"""Names of numpy, and of safetensors."""
SPOOL = ".shard.part"
NOT_AN_ID = "__metadata__"  # safetensors has another use for it


class Ids:
    """Which ids were added; eight bytes are kept of each."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._sorted_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, name: str) -> None:
        self._hashes.append(hash(name))
        self._sorted_N = None

    def __contains__(self, name: str) -> bool:
        if self._sorted_N is None:
            self._sorted_N = np.sort(np.frombuffer(self._hashes, dtype=np.int64))
        at = int(np.searchsorted(self._sorted_N, hash(name)))
        return at < len(self._sorted_N) and int(self._sorted_N[at]) == hash(name)

    def twice(self) -> set[int]:
        """Hashes that were added more than once."""
        hashes_N = np.sort(np.frombuffer(self._hashes, dtype=np.int64))
        return set(hashes_N[1:][hashes_N[1:] == hashes_N[:-1]].tolist())


class Lines:
    """A JSONL file that lines are appended to, and that ends with a whole line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Where each whole line begins and ends, and its content."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    found = json.loads(line)
                    found["id"], found["frames"]
                except (ValueError, TypeError, KeyError):
                    raise UserError(
                        f"{self.path}:{number}: not a line that speechx wrote; take the file away, "
                        "or give another -o"
                    ) from None
                yield offset, offset + len(line), found
                offset += len(line)

    def cut(self, offset: int) -> None:
        """Leaves that many bytes."""
        if self.path.is_file() and self.path.stat().st_size > offset:
            os.truncate(self.path, offset)

    def append(self, lines: Sequence[dict[str, Any]]) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(map(json_line, lines)))


class UnitLines:
    """Units of utterances, a line each; a killed run goes on behind the last whole one."""

    def __init__(self, folder: Path, codebook: UnitCodebook, collapse: bool) -> None:
        """`collapse`: units without repeats, with the frames that each lasts."""
        self.codebook, self.collapse = codebook, collapse
        self.lines, self.done, end = Lines(folder / UNITS), Ids(), 0
        for _, end, line in self.lines:  # noqa: B007
            self.done.add(line["id"])
        self.lines.cut(end)
        self._units: list[np.ndarray] = []

    def add(self, features_TLD: np.ndarray) -> None:
        """The next frames of the utterance, of one layer."""
        self._units.append(self.codebook.assign(features_TLD[:, 0]))

    def finish(self, line: dict[str, Any]) -> None:
        """The utterance is complete; `line` is what else there is to write."""
        units_T = np.concatenate([np.zeros(0, np.int64), *self._units])
        found: dict[str, Any] = {"id": line["id"], "units": units_T.tolist()}
        if self.collapse:
            units_R, frames_R = runs_of(units_T)
            found |= {"units": units_R.tolist(), "durations": frames_R.tolist()}
        self.lines.append([found | line])
        self._units = []

    def drop(self) -> None:
        """The utterance cannot be read."""
        self._units = []

    def close(self) -> None:
        """Every line is on disk already."""


class FeatureShards:
    """The shards of a folder, and its index."""

    def __init__(
        self, folder: Path, format: str, dtype: str, shape: tuple[int, ...], shard_bytes: int
    ) -> None:
        """`shape` is that of a frame: (D,) or (L, D). A shard is closed when it has `shard_bytes`
        of features or more. Removes what a killed run left unfinished."""
        self.folder, self.format, self.dtype = folder, format, np.dtype(dtype).newbyteorder("<")
        self.shape, self.shard_bytes = shape, shard_bytes
        self.lines, self.done = Lines(folder / INDEX), Ids()
        self.number = self._recover()
        self._waiting: list[dict[str, Any]] = []
        self._spool: BinaryIO | None = None
        self._begin = 0
        """Where the frames of the utterance begin in the spool."""

    @property
    def frame_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape))

    def add(self, features_TLD: np.ndarray) -> None:
        """The next frames of the utterance."""
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(features_TLD, dtype=self.dtype)
        if not np.isfinite(stored).all():
            raise UserError(
                f"some features are no finite numbers in {self.dtype.name}: "
                + ("give --dtype float32" if self.dtype.itemsize == 2 else "the model is damaged")
            )
        self._file().write(stored.tobytes())

    def finish(self, line: dict[str, Any]) -> None:
        """The utterance is complete; `line` is what the index has beside its place."""
        end = self._file().tell()
        place: dict[str, Any] = {"id": line["id"], "shard": self._name(self.number)}
        if self.format == "safetensors":
            place["key"] = line["id"]
        else:
            place["offset"] = self._begin // self.frame_bytes
        frames = (end - self._begin) // self.frame_bytes
        self._waiting.append({**place, "frames": frames, **line})
        self._begin = end
        if end >= self.shard_bytes:
            self.close()

    def drop(self) -> None:
        """The utterance cannot be read: its frames are taken back."""
        file = self._file()
        file.seek(self._begin)
        file.truncate()

    def close(self) -> None:
        """Writes the shard, and then its lines of the index."""
        if self._spool is None:
            return
        if self._waiting:
            self.drop()  # of an utterance that is not complete
            self._spool.flush()
            with whole_file(self.folder / self._name(self.number)) as new, new.open("wb") as file:
                self._write_header(file)
                self._spool.seek(0)
                shutil.copyfileobj(self._spool, file, 1 << 20)
            lines, self._waiting = self._waiting, []  # no second time, whatever interrupts
            self.number += 1
            self.lines.append(lines)
        self._spool.close()
        self._spool, self._waiting, self._begin = None, [], 0
        (self.folder / SPOOL).unlink(missing_ok=True)

    def _file(self) -> BinaryIO:
        if self._spool is None:
            self._spool = (self.folder / SPOOL).open("w+b")
        return self._spool

    def _name(self, number: int) -> str:
        return f"features-{number:05d}.{self.format}"

    def _write_header(self, file: BinaryIO) -> None:
        if self.format == "npy":
            frames = sum(line["frames"] for line in self._waiting)
            about = {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (frames, *self.shape),
            }
            np.lib.format.write_array_header_1_0(file, about)
            return
        tensors, begin = {}, 0
        for line in self._waiting:
            end = begin + line["frames"] * self.frame_bytes
            tensors[line["key"]] = {
                "dtype": DTYPES[self.dtype.name],
                "shape": [line["frames"], *self.shape],
                "data_offsets": [begin, end],
            }
            begin = end
        header = json.dumps(tensors).encode()
        header += b" " * (-len(header) % 8)
        file.write(len(header).to_bytes(8, "little") + header)

    def _recover(self) -> int:
        """The number of the first shard to write."""
        last, begin, end, frames, size, ids = -1, 0, 0, 0, 0, list[str]()
        for offset, end, line in self.lines:  # noqa: B007
            number = self._number(line)
            if number != last:
                for name in ids:
                    self.done.add(name)
                last, begin, frames, ids = number, offset, 0, []
                path = self.folder / self._name(number)
                if not path.is_file():
                    raise UserError(
                        f"{path} is gone, but {self.lines.path} names it: put it back, or give "
                        "another -o"
                    )
                size = self._content(path)
            ids.append(line["id"])
            frames += line["frames"]
        if (len(ids) if self.format == "safetensors" else frames) == size:
            for name in ids:
                self.done.add(name)
            self.lines.cut(end)
            first = last + 1
        else:  # killed while the lines of the last shard were written
            self.lines.cut(begin)
            first = last
        for path in self.folder.glob(f"features-*.{self.format}"):
            digits = path.stem.removeprefix("features-")
            if digits.isdigit() and int(digits) >= first:
                path.unlink()
        for path in (self.folder / SPOOL, *self.folder.glob(f".features-*.{self.format}")):
            path.unlink(missing_ok=True)  # what a killed run had begun to write
        return first

    def _number(self, line: dict[str, Any]) -> int:
        digits = Path(str(line.get("shard"))).stem.removeprefix("features-")
        if not digits.isdigit() or line["shard"] != self._name(int(digits)):
            raise UserError(
                f"{self.lines.path} names a shard {line.get('shard')!r}: give another -o"
            )
        return int(digits)

    def _content(self, path: Path) -> int:
        """How many tensors a shard has, or how many frames an array."""
        try:
            with path.open("rb") as file:
                if self.format == "npy":
                    np.lib.format.read_magic(file)
                    return int(np.lib.format.read_array_header_1_0(file)[0][0])
                return len(json.loads(file.read(int.from_bytes(file.read(8), "little"))))
        except (ValueError, OSError) as error:
            raise UserError(f"{path} cannot be read ({error}): give another -o") from None
