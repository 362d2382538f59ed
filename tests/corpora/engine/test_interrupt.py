"""Ctrl-C reaches every process of a pool, and the parent alone says so."""

import os
import signal
import subprocess
import sys
import time

import pytest

SPREAD = """
import time
from speechx.corpora.engine.processes import FILES_A_TURN, spread
def work(number):
    print("at work", flush=True)
    time.sleep(0.2)
for _ in spread(work, [(n,) for n in range(FILES_A_TURN + 1)]):
    pass
"""


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to a group of processes")
def test_only_the_parent_reports_an_interrupt() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SPREAD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.7)  # one worker has nothing left to do
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "Process " not in errors
    assert errors.count("\nKeyboardInterrupt") == 1
