"""How long the ventilator leaves messages unread: never so long that a worker could run out of tasks."""

from collections.abc import Iterator

import pytest
from support.cores.leases_harness import CoreHarness

from penstock.protocol.messages import Goodbye
from penstock.ventilator.resting import rest_s


@pytest.fixture
def harness() -> Iterator[CoreHarness]:
    """Return a harness with a sink and one worker of two slots; invariants are checked once more at the end."""
    harness = CoreHarness()
    harness.sink()
    harness.join(b"a")
    yield harness
    harness.leases.validate()


def rest(harness: CoreHarness) -> float:
    """Return for how long messages may wait now."""
    return rest_s(harness.leases.workers, harness.leases.queues)


def filled(harness: CoreHarness, *, took_s: float, slots: int = 4, tasks: int = 30) -> CoreHarness:
    """Return a harness with two further workers that hold so many tasks, where a task typically takes so long."""
    harness.leases.receive(b"a", Goodbye(), harness.now)
    for peer in (b"b", b"c"):
        harness.join(peer, slots=slots)
    harness.miss((0, tasks))
    harness.deal()
    harness.wait(1.0, b"b", b"c")
    for peer in (b"b", b"c"):
        harness.finish(peer, *harness.leases.workers[peer].held, took_s=took_s)
    harness.deal()
    return harness


def test_while_all_workers_have_enough_to_do_messages_wait(harness: CoreHarness) -> None:
    """For half the time of two tasks: so many are left to a worker when it tells of those that it has done."""
    assert pytest.approx(0.02) == rest(filled(harness, took_s=0.02))


def test_a_worker_that_holds_three_tasks_tells_when_one_is_left(harness: CoreHarness) -> None:
    """It has told of none of them yet, and may have done two."""
    assert pytest.approx(0.01) == rest(filled(harness, took_s=0.02, slots=3, tasks=15))


def test_no_rest_is_longer_than_a_tenth_of_a_second(harness: CoreHarness) -> None:
    """Whatever else comes, such as a command that asks for the status, waits no longer."""
    assert pytest.approx(0.1) == rest(filled(harness, took_s=0.2))


def test_nothing_waits_while_a_worker_has_little_to_do(harness: CoreHarness) -> None:
    """Two tasks in hand, a worker that has just joined, or none that is known: each report is heard at once."""
    assert 0.0 == rest(harness), "how long a task takes is not known yet"
    assert 0.0 == rest(filled(harness, took_s=0.02, slots=2, tasks=12))


def test_messages_wait_no_longer_where_workers_hold_more(harness: CoreHarness) -> None:
    """Each may hold eight of many short tasks, and may have done six of them before it tells of any."""
    assert pytest.approx(0.01) == rest(filled(harness, took_s=0.01, tasks=40))
    assert 8 == len(harness.leases.workers[b"b"].held)


def test_a_worker_that_joins_is_not_kept_waiting(harness: CoreHarness) -> None:
    """It holds nothing, however much the others hold."""
    filled(harness, took_s=0.02)
    harness.join(b"d")
    assert 0.0 == rest(harness)


def test_a_worker_that_gets_nothing_new_keeps_nobody_from_resting(harness: CoreHarness) -> None:
    """A worker that holds up the stream, or cannot reach the sink, has nothing to wait for."""
    filled(harness, took_s=0.02)
    worker = harness.leases.workers[b"b"]
    harness.finish(b"b", *list(worker.held)[1:], took_s=0.02)
    assert 0.0 == rest(harness)
    worker.stalled = True
    harness.leases.workers.offer(b"b")
    assert rest(harness) > 0.0


def test_rests_too_short_to_matter_are_left_out(harness: CoreHarness) -> None:
    """Tasks of a fraction of a millisecond are leased as fast as they are done."""
    assert 0.0 == rest(filled(harness, took_s=0.0005))
