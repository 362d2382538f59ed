"""The tensors of a model's files: `.safetensors` or a pickle, whole or in numbered parts."""

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from speechx.errors import UserError
from speechx.interchange.json_objects import read_json
from speechx.interchange.pickles import read_pickle

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Of a folder of transformers; the first that is there counts."""
Wanted = Callable[[str], bool]
"""Which names are read."""


def every_name(_: str) -> bool:
    return True


def read_folder(folder: Path, wanted: Wanted = every_name) -> dict[str, Tensor]:
    """The weights of a folder of transformers."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return read_file(folder / name, wanted)
        if (folder / f"{name}.index.json").is_file():
            parts = read_json(folder / f"{name}.index.json").get("weight_map", {})
            weights: dict[str, Tensor] = {}
            for part in sorted(set(parts.values())):
                weights |= read_file(folder / Path(part).name, wanted)
            return weights
    raise UserError(f"{folder} has a config.json but no weights: expected {' or '.join(WEIGHTS)}")


def read_file(path: Path, wanted: Wanted = every_name) -> dict[str, Tensor]:
    """The tensors of one file."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no tensors by name")
    return {n: t for n, t in content.items() if isinstance(t, Tensor) and wanted(n)}
