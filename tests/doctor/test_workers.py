"""Work in processes: in order, as needed; an item that kills or hangs its process is named."""

import os
import signal
import subprocess
import sys
import time

import pytest

from speechx.doctor.workers import CRASHED, HUNG, in_parallel


def double(number):
    return 2 * number


def die(number):
    if number in (3, 70, 71):
        os._exit(1)
    return number


def test_results_come_in_order():
    assert list(in_parallel(double, range(300), lambda x: x, 2)) == [(i, 2 * i) for i in range(300)]
    assert list(in_parallel(double, [], lambda x: x, 2)) == []


def test_items_are_read_only_as_they_are_needed():
    read = []
    items = (read.append(i) or i for i in range(10_000))
    for _ in zip(in_parallel(double, items, lambda x: x, 2, chunk=10), range(5), strict=False):
        pass
    assert len(read) <= 110


def test_what_kills_its_process_is_named_and_the_others_go_on():
    results = dict(in_parallel(die, range(100), lambda x: x, 2, chunk=10))
    assert {i for i, found in results.items() if found == CRASHED} == {3, 70, 71}
    assert all(results[i] == i for i in results if i not in (3, 70, 71))


def die_or_sleep(number):
    if number == 5:
        time.sleep(60)
    if number == 500:
        os._exit(1)
    return number


def test_a_process_that_dies_while_others_are_given_work():
    results = {}
    for item, result in in_parallel(die, range(2000), lambda x: x + 1, 2):
        results[item] = result
        if item % 64 == 0:
            time.sleep(0.01)
    assert {i for i, found in results.items() if found == CRASHED} == {2, 69, 70}
    assert len(results) == 2000


def test_what_takes_too_long_is_ended_and_named():
    started = time.monotonic()
    some = in_parallel(die_or_sleep, range(600), lambda x: x, 2, seconds=lambda x: 0.5)
    assert {i: r for i, r in some if r != i} == {5: HUNG, 500: CRASHED}
    assert time.monotonic() - started < 30


def ignore_signals(number):
    """Like C code that loops: it cannot be ended gently."""
    if number == 5:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    return number


def test_work_that_cannot_be_ended_gently_is_killed():
    results = in_parallel(ignore_signals, range(8), lambda x: x, 1, chunk=1, seconds=lambda x: 0.3)
    assert {i: r for i, r in results if r != i} == {5: HUNG}


PROGRAM = """
import time
from speechx.doctor.workers import in_parallel
from tests.doctor.test_workers import slow

for item, _ in in_parallel(slow, range(100_000), lambda x: x, 2, chunk=2):
    if item == 4:
        print("ready", flush=True)
"""


def slow(number):
    time.sleep(0.05)


def running(session):
    """Processes of a session that are not zombies."""
    lines = subprocess.run(["ps", "-eo", "sess=,stat="], capture_output=True, text=True).stdout
    pairs = (line.split() for line in lines.splitlines())
    return [state for number, state in pairs if int(number) == session and state[0] != "Z"]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_when_the_program_ends(kind):
    command = [sys.executable, "-c", PROGRAM]
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert program.stdout.readline() == b"ready\n"
    assert len(running(program.pid)) == 3
    program.send_signal(kind)
    program.wait(20)
    end = time.monotonic() + 20
    while running(program.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert running(program.pid) == []


def fail(number):
    raise ZeroDivisionError(number)


def test_an_exception_of_the_work_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(fail, range(3), lambda x: x, 2))
