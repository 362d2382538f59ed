"""`speechx data validate`: the hard checks of `speechx data doctor`, one line per case."""

from collections.abc import Sequence
from pathlib import Path

from speechx.doctor.examination import DoctorOptions, examine


def problems(paths: Sequence[Path | str], decode: bool = False) -> list[str]:
    """Why lines, audio or texts of manifests cannot be used. With `decode` all audio is decoded, to
    find damage, silence and duplicates too."""
    return examine(paths, options=DoctorOptions(decode="all" if decode else "none")).problems()
