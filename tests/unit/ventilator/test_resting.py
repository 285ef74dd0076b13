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
    """A rest leaves each worker two tasks: one that it may have finished already, and one for the way to it."""
    assert pytest.approx(0.04) == rest(filled(harness, took_s=0.02))


def test_no_rest_is_longer_than_a_tenth_of_a_second(harness: CoreHarness) -> None:
    """Whatever else comes, such as a command that asks for the status, waits no longer."""
    assert pytest.approx(0.1) == rest(filled(harness, took_s=0.09))


def test_nothing_waits_while_a_worker_has_little_to_do(harness: CoreHarness) -> None:
    """Two tasks in hand, a worker that has just joined, or none that is known: each report is heard at once."""
    assert 0.0 == rest(harness), "how long a task takes is not known yet"
    assert 0.0 == rest(filled(harness, took_s=0.02, slots=2, tasks=12))


def test_messages_wait_longer_where_tasks_are_short_and_plenty(harness: CoreHarness) -> None:
    """Each worker may then hold twice as many tasks as it has slots: six are as many more as a rest may last."""
    assert pytest.approx(0.06) == rest(filled(harness, took_s=0.01, tasks=40))


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
