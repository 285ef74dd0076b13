"""Which ready work goes to which worker, and when."""

import pytest
from support.cores.leases_harness import SINK, CoreHarness, key
from support.plans import make_plan

from penstock.protocol.messages import (
    Goodbye,
    Progress,
    StreamNeed,
    Tasks,
)
from penstock.protocol.plan import StreamPlan


def test_work_is_leased_lowest_position_first_and_no_more_than_there_are_slots(harness: CoreHarness) -> None:
    """A worker holds at most what it asked for, in the stream's order."""
    harness.miss((3, 9))
    assert {b"a": [key(3), key(4)]} == harness.deal()
    assert {} == harness.deal()
    harness.finish(b"a", key(3))
    assert {b"a": [key(5)]} == harness.deal()


def test_many_tasks_are_sent_in_several_messages(harness: CoreHarness) -> None:
    """A worker with many slots gets all of its tasks, and no message that is too large for it to accept."""
    harness.join(b"b", slots=200)
    harness.miss((0, 300))
    sends = harness.take(harness.leases.dispatch(harness.now))
    sizes = [len(send.message.tasks) for send in sends if send.peer == b"b" and isinstance(send.message, Tasks)]
    assert [16] * 12 + [8] == sizes


def test_very_many_tasks_are_leased_in_several_turns(harness: CoreHarness) -> None:
    """The next turn comes at once, so that peers hear from the ventilator in between; then all are leased."""
    for number in range(8):
        harness.join(b"w%d" % number, slots=256)
    harness.miss((0, 1500))

    def leased() -> int:
        sends = harness.take(harness.leases.dispatch(harness.now))
        return sum(len(send.message.tasks) for send in sends if isinstance(send.message, Tasks))

    assert 1024 == leased()
    assert 0.0 <= harness.leases.next_dispatch() <= harness.now
    assert 1500 - 1024 == leased()
    assert harness.leases.next_dispatch() > harness.now


def test_as_many_tasks_are_leased_at_once_as_the_caller_says(harness: CoreHarness) -> None:
    """Each worker still gets all that it can take in one message, and what is left comes with the next call."""
    harness.join(b"b", slots=10)
    harness.miss((0, 20))
    first = [send.message for send in harness.take(harness.leases.dispatch(harness.now, 7)) if send.peer == b"b"]
    assert [5] == [len(message.tasks) for message in first if isinstance(message, Tasks)]
    assert {b"b": [key(number) for number in range(7, 12)]} == harness.deal()


def short_tasks(harness: CoreHarness, tasks: int, *, took_s: float = 0.02, slots: int = 3) -> None:
    """Let two workers with so many slots finish a task each, of so many, and get new ones."""
    for peer in (b"b", b"c"):
        harness.join(peer, slots=slots)
    harness.leases.receive(b"a", Goodbye(), harness.now)
    harness.miss((0, tasks))
    harness.deal()
    harness.wait(1.0, b"b", b"c")
    for peer in (b"b", b"c"):
        harness.finish(peer, next(iter(harness.leases.workers[peer].held)), took_s=took_s)
    harness.deal()


def held(harness: CoreHarness) -> list[int]:
    """Return how many tasks each worker holds."""
    return [len(worker.held) for worker in harness.leases.workers.values()]


def test_workers_hold_twice_as_many_tasks_where_these_are_short_and_plenty(harness: CoreHarness) -> None:
    """Twice their slots, once it is known how long a task takes; so each reports several at once."""
    short_tasks(harness, 30)
    assert [6, 6] == held(harness)


@pytest.mark.parametrize(
    ("tasks", "took_s", "slots", "each"),
    [(20, 0.02, 3, 3), (30, 0.2, 3, 3), (30, 0.02, 1, 1)],
    ids=["few tasks", "long tasks", "one slot"],
)
def test_else_workers_hold_as_many_tasks_as_they_have_slots(
    harness: CoreHarness, tasks: int, took_s: float, slots: int, each: int
) -> None:
    """A slow worker keeps few tasks from the others, one that dies loses little, and one slot means one at a time."""
    short_tasks(harness, tasks, took_s=took_s, slots=slots)
    assert [each, each] == held(harness)


def test_when_tasks_become_few_workers_get_no_more_than_they_have_slots(harness: CoreHarness) -> None:
    """They keep what they hold; what is finished is replaced once they hold less than they have slots."""
    short_tasks(harness, 30)
    first = list(harness.leases.workers[b"b"].held)
    harness.miss((first[0].ordinal, 20))
    harness.wait(1.0, b"b", b"c")
    harness.deal()
    assert [6, 6] == held(harness)
    harness.finish(b"b", *first[:4], took_s=0.02)
    harness.deal()
    assert [3, 6] == held(harness)


def test_workers_are_served_in_turn(harness: CoreHarness) -> None:
    """Neighbouring tasks go to different workers, so that the head of the stream is worked on by all."""
    harness.join(b"b")
    harness.miss((0, 4))
    assert {b"a": [key(0), key(2)], b"b": [key(1), key(3)]} == harness.deal()


def test_a_worker_that_missed_heartbeats_gets_nothing_new_until_it_is_heard(harness: CoreHarness) -> None:
    """It may be dead: what it were given would wait for its silence to expire, and be charged with its death."""
    harness.wait(3.0)
    harness.miss((0, 2))
    assert {} == harness.deal()
    harness.beat(b"a")
    assert {b"a": [key(0), key(1)]} == harness.deal()


@pytest.mark.parametrize(
    "train",
    [
        make_plan("train", items=1000, window_samples=64),
        # A task would hold 21 epochs of it, and holds one; its window is 16 tasks, as the other's.
        make_plan("train", items=60, task_items=1280, window_samples=50_000_000),
    ],
)
def test_streams_share_the_workers_by_how_far_ahead_they_are(train: StreamPlan) -> None:
    """The stream whose next work is nearest to its trainer, in windows, goes first: none starves."""
    harness = CoreHarness(train, make_plan("validation", items=1000, window_samples=64))
    harness.sink()
    harness.join(b"a", slots=8)
    needs = tuple(StreamNeed(stream=name, missing=((0, 20),)) for name in harness.plans)
    harness.hear(SINK, Progress(sequence=1, needs=needs))
    streams = [key.stream for key in harness.deal()[b"a"]]
    assert {"train": 4, "validation": 4} == {name: streams.count(name) for name in harness.plans}


def test_a_seek_back_and_forth_does_not_leak() -> None:
    """The line of ready work is made anew when most of it is out of date."""
    harness = CoreHarness(make_plan(items=10_000))
    harness.sink()
    for _ in range(30):
        harness.miss((0, 500))
        harness.miss((1500, 2000))
    assert len(harness.leases.queues["train"].ready._lines[""]) < 5000
