"""Configurations of runs, from plain data or from a file, without the model of their `init`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def make_config(cls: Any, raw: dict[str, Any], source: str = "test", resume: bool = False) -> Any:
    from speechx.runs import make_run

    return make_run(cls, raw, source, resume)[0]


def load_config(
    cls: Any, path: Path | str, overrides: Sequence[str] = (), resume: bool = False
) -> Any:
    from speechx.runs import load_run

    return load_run(cls, path, overrides, resume)[0]
