"""Work in processes: in order, as it is needed, and whoever kills a process is named."""

import os

from speechx.doctor.workers import CRASHED, in_parallel


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
