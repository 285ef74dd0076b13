"""Threads that fetch: as many as there is work for, and none that is left over."""

import threading

import pytest
from support.streams import until

from penstock.sources.fetchers import Fetchers


def threads() -> list[threading.Thread]:
    """Return the threads that fetch in this process."""
    return [thread for thread in threading.enumerate() if thread.name == "fetcher"]


def test_threads_come_with_the_work_and_go_without() -> None:
    """No more run than calls wait or the limit allows; idle ones end, and new work starts new ones."""
    before = len(threads())
    fetchers, gate = Fetchers(4, idle_s=0.05), threading.Event()
    assert before == len(threads())

    def call(number: int) -> int:
        gate.wait(60)
        return 2 * number

    two = fetchers.map(call, [1, 2])
    assert before + 2 == len(threads())
    many = fetchers.map(call, range(100))
    assert before + 4 == len(threads())
    gate.set()
    assert [2, 4, *range(0, 200, 2)] == [*two, *many]
    until(lambda: len(threads()) <= before, "idle threads to end")
    assert [6] == list(fetchers.map(call, [3]))


def test_work_that_comes_while_threads_end_is_done() -> None:
    """A thread that finds no work and a call that comes at that moment: never a call without a thread."""
    fetchers = Fetchers(2, idle_s=0.0)
    for number in range(2000):
        assert [number, number + 1] == list(fetchers.map(lambda value: value, [number, number + 1]))


def test_an_error_is_raised_where_the_result_is_read() -> None:
    """And the thread goes on."""
    fetchers = Fetchers(1, idle_s=0.05)
    results = fetchers.map(lambda value: 1 // value, [0, 1])
    with pytest.raises(ZeroDivisionError):
        results[0]
    assert 1 == results[1]
