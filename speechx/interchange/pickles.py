"""Reads `.pt` files without running what they contain.

A pickle is a program, and old checkpoints cannot be read without running it. Only names on an
allow-list are run.
Tensors are rebuilt by torch from bytes within their storage, settings become plain data, and a
file that asks for anything else is refused by the name of that thing. No class of fairseq,
omegaconf or numpy is imported: a stand-in takes the arguments and the state in the file.

torch.load drives the reading (both of its formats, the zip and the older one) and gets every
global from `_Unpickler.find_class`, but for the storages, which it names itself.
"""

from __future__ import annotations

import collections
import pickle
import tarfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from speechx.errors import UserError

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
STAND_INS = ("argparse.", "omegaconf.", "fairseq.", "fairseq2.", "numpy.", "pathlib.", "typing.")
"""Of these packages every class is replaced by a `Record`."""

LARGEST = 10_000_000
"""Values in a file besides its tensors, one that is shared counted wherever it stands."""

_PLAIN = (str, bytes, int, float, complex, bool, torch.Tensor)


class Record:
    """Stands for an object of a class that is not loaded: its arguments, state and items."""

    arguments: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *arguments: Any) -> Record:
        record = super().__new__(cls)
        record.arguments, record.state, record.items = arguments, None, []
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        self.items.append(value)


def checkpoint_file(path: Path) -> Path:
    """The file itself, or the one checkpoint in a folder."""
    if not path.is_dir():
        return path
    found = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if len(found) != 1:
        inside = ", ".join(p.name for p in found) or "none"
        raise UserError(f"{path} should hold one checkpoint (.pt), but holds {inside}")
    return found[0]


def read_pickle(path: Path) -> Any:
    """The content of a torch.save file as dictionaries, lists, strings, numbers and tensors.

    Large files are mapped into memory, so that only the parts in use are read.
    """
    try:
        with open(path, "rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        if zipped and "constants.pkl" in torch._C.PyTorchFileReader(str(path)).get_all_records():
            raise UserError(
                f"{path} is a TorchScript program, not a state dict: save model.state_dict() with "
                "torch.save instead"
            )
        if not zipped and tarfile.is_tarfile(path):  # unpacked by torch to files on the disk
            raise UserError(
                f"{path} is in the tar format that torch wrote before 2018: load it with that "
                "torch and save it again"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TypedStorage is deprecated, old files hold it
            content = torch.load(
                path, map_location="cpu", pickle_module=_PICKLE, weights_only=False, mmap=zipped
            )
        return plain(content)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: expected a .pt file") from None
    except UserError:
        raise
    except MemoryError:
        raise UserError(
            f"{path} asks for more memory than there is: it is damaged, or too large for this "
            "machine"
        ) from None
    except _Refused as refused:
        raise UserError(
            f"{path} is not opened: it asks for {refused}, which a file of weights has no need of"
        ) from None
    except Exception as error:  # a damaged pickle can fail in any way
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} cannot be read: it is truncated or no file of torch.save ({first})"
        ) from None


def plain(value: Any) -> Any:
    """`value` with every `Record` replaced: settings by dictionaries, a choice by its value, other
    objects by None."""
    return _plain(value, 0, {})[0]


def _plain(value: Any, depth: int, seen: dict[int, tuple[Any, Any, int]]) -> tuple[Any, int]:
    """The plain value, and its number of values, a shared one counted at each of its places.

    A shared value is translated once; `seen` keeps the originals, so that no id is used again.
    """
    if not isinstance(value, (Record, dict, list, tuple, set, frozenset)):
        return (value if isinstance(value, _PLAIN) else None), 1
    if depth > 50:
        return None, 1
    if id(value) in seen:
        return seen[id(value)][1:]
    seen[id(value)] = value, None, 1  # its value where it contains itself
    whole: Any
    if isinstance(value, Record):
        whole, count = _plain(_content(value), depth + 1, seen)
    elif isinstance(value, dict):
        items = {_key(key): _plain(item, depth + 1, seen) for key, item in value.items()}
        whole, count = {k: item for k, (item, _) in items.items()}, _count(items.values())
    else:
        rows = [_plain(item, depth + 1, seen) for item in value]
        whole, count = [item for item, _ in rows], _count(rows)
    seen[id(value)] = value, whole, count
    return whole, count


def _count(items: Iterable[tuple[Any, int]]) -> int:
    count = 1 + sum(count for _, count in items)
    if count > LARGEST:  # printing or comparing it would take forever
        raise ValueError(f"its settings repeat themselves more than {LARGEST} times")
    return count


def _key(key: Any) -> Any:
    key = plain(key)
    return key if isinstance(key, (str, int, float, bool)) or key is None else str(key)


def _content(record: Record) -> Any:
    state = record.state
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        state = {**(state[0] or {}), **state[1]}  # __dict__, __slots__
    if isinstance(state, dict):
        for key in ("_content", "_val"):  # omegaconf: a container, a leaf
            if key in state:
                return state[key]
        return state
    if record.items:
        return dict(record.items) if isinstance(record.items[0], tuple) else record.items
    if len(record.arguments) == 1 and isinstance(record.arguments[0], (str, int, float)):
        return record.arguments[0]  # a member of an Enum
    return None


class _Refused(Exception):
    pass


def _tensor(
    storage: Any, offset: int, size: Any, stride: Any, requires_grad: bool, *rest: Any
) -> torch.Tensor:
    """A view of a storage, which must hold all of it."""
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    last = int(offset) + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    room = len(storage)
    if offset < 0 or min((*size, *stride), default=0) < 0 or (0 not in size and last >= room):
        raise ValueError("a tensor reaches beyond its storage")
    return torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, {})


_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": lambda *_: {},
    "_codecs.encode": lambda text, _: text.encode("latin1"),
    # omegaconf keeps the types of its fields, and List[int] is typing.List taken at int.
    "_operator.getitem": lambda *_: None,
    "operator.getitem": lambda *_: None,
    "builtins.long": int,  # what Python 3 calls int in a pickle that Python 2 could read
    "builtins.unicode": str,
    "torch.Size": tuple,
    "torch.device": lambda *_: None,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": lambda *view: _tensor(*view, False),
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    **{f"builtins.{t.__name__}": t for t in
       (set, frozenset, dict, list, tuple, int, float, complex, str, bool)},
    **{str(t): t for t in vars(torch).values() if isinstance(t, torch.dtype)},
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        whole = f"{module}.{name}".replace("__builtin__.", "builtins.", 1)  # Python 2
        if whole in _KNOWN:
            return _KNOWN[whole]
        if whole.startswith(STAND_INS):
            return type(name, (Record,), {})
        raise _Refused(whole)


_PICKLE = SimpleNamespace(
    __name__="restricted",
    Unpickler=_Unpickler,
    load=lambda file, **options: _Unpickler(file, **options).load(),
)
