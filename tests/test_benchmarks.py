"""Every benchmark runs, on the smallest input it takes, so that none rots unseen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SMALL = {
    "alignment": ["--minutes", "0.2", "--hours", "0.02"],
    "commonvoice_preparation": ["--clips", "1000"],
    "doctor": ["--utterances", "20"],
    "decoding": ["--seconds", "10", "--beam-size", "10", "--seeds", "2"],
    "language_model": ["--tokens", "20000"],
    "loader": ["--clips", "2", "--repetitions", "1"],
    "planning": ["--utterances", "2000"],
    "pretraining_step": [
        "--num-layers", "1", "--seconds", "1", "--rows", "1", "--repeats", "1", "--device", "cpu",
    ],
    "transcribe": [
        "--num-layers", "1", "--clips", "2", "--seconds", "1", "--repeats", "1", "--threads", "1",
    ],
    "times": [],
}  # fmt: skip


def test_every_benchmark_is_run_here():
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs_on_small_input(name, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{name}.py", *SMALL[name]],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip(), "a benchmark prints what it measured"
