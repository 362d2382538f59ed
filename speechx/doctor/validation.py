"""`speechx data validate`: the doctor's hard checks, a line each, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechx.doctor.diagnosis import writable
from speechx.doctor.examination import examine


def problems(paths: Sequence[Path | str], decode: bool = False) -> list[str]:
    """What is beyond use in manifests: lines, audio, texts. `decode` hears every sample, and so
    also finds damaged sound, silence and copies in other files."""
    diagnosis = examine(paths, decode="all" if decode else "none", log=lambda _: None)
    return [
        writable(f"{case.subject}: {check.title.lower()}: {case.detail}")
        for check, cases in diagnosis.by_check.items()
        for case in cases
        if check.hard
    ]
