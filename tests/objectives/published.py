"""Numbers that the published code of a paper computed (tests/fixtures), under our names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

FIXTURES = Path(__file__).parent.parent / "fixtures"


def load_fixture(name: str) -> dict[str, Tensor]:
    return load_file(FIXTURES / f"{name}.safetensors")


def renamed(
    fixture: Mapping[str, Tensor],
    prefix: str,
    names: Mapping[str, str],
    change: Callable[[str, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Tensors whose names start with `prefix`, under our names, each in our shape."""
    ours = {}
    for name, tensor in fixture.items():
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            for pattern, replacement in names.items():
                name = re.sub(rf"(?<![a-z_]){pattern}(?=\.|$)", replacement, name)
            ours[name] = change(name, tensor).contiguous()
    return ours
