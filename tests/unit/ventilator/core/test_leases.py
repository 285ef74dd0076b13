"""The ventilator's core: who gets what, what comes back to the front, who is charged, what is given up."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.plans import PlannedTasks, make_plan, make_task

from penstock.protocol import ranges
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.messages import (
    Done,
    Drain,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    Progress,
    Quarantined,
    Reset,
    SinkHello,
    SinkWelcome,
    StreamNeed,
    TaskKey,
    Tasks,
    Timings,
    WorkerWelcome,
)
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.leases import LeasePolicy, Leases
from penstock.ventilator.core.sink_link import MAX_MISSING

SINK = b"sink"
INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)


def key(ordinal: int, item_offset: int | None = None, stream: str = "train") -> TaskKey:
    """Return the name of a unit of work."""
    return TaskKey(stream=stream, ordinal=ordinal, item_offset=item_offset)


class CoreHarness:
    """A Leases core with everything around it played by hand."""

    def __init__(self, *plans: StreamPlan, policy: LeasePolicy | None = None) -> None:
        """Start without peers, at time 0."""
        self.plans = {plan.name: plan for plan in plans or (make_plan(),)}
        self.now = 0.0
        self.leases = Leases(
            PlannedTasks(*self.plans.values()),
            {"photos": "/photos"},
            INTERVALS,
            "1.0",
            policy,
        )
        self.sequence = 0
        self.notes: list[Note] = []

    def take(self, instructions: Sequence[Instruction]) -> list[Send]:
        """Check the core, keep its notes and return what it sends."""
        self.leases.validate()
        self.notes += [each for each in instructions if isinstance(each, Note)]
        return [each for each in instructions if isinstance(each, Send)]

    def hear(self, peer: bytes, message: Any) -> list[Any]:
        """Let a message arrive; return the messages sent back to anybody."""
        return [send.message for send in self.take(self.leases.receive(peer, message, self.now))]

    def join(self, peer: bytes, slots: int = 2, incarnation: str = "") -> list[Any]:
        """Let a worker say hello."""
        name = incarnation or peer.decode()
        return self.hear(peer, Hello(worker=name, incarnation=name, host="h", slots=slots, version="1.0"))

    def sink(self, peer: bytes = SINK, results: str = "results") -> list[Any]:
        """Let a sink say hello."""
        self.sequence = 0
        return self.hear(peer, SinkHello(incarnation=peer.decode(), results=results, version="1.0"))

    def miss(self, *spans: tuple[int, int], stream: str = "train", peer: bytes = SINK, **more: Any) -> list[Any]:
        """Let the sink say which tasks it misses."""
        self.sequence += 1
        need = StreamNeed(stream=stream, missing=ranges.normalise(spans), **more)
        return self.hear(peer, Progress(sequence=self.sequence, needs=(need,)))

    def deal(self) -> dict[bytes, list[TaskKey]]:
        """Return who is given which units of work now."""
        sends = self.take(self.leases.dispatch(self.now))
        return {
            send.peer: [task.key for task in send.message.tasks] for send in sends if isinstance(send.message, Tasks)
        }

    def finish(self, peer: bytes, *keys: TaskKey, took_s: float = 0.1) -> None:
        """Let a worker say that results were sent."""
        self.hear(peer, Finished(done=tuple(Done(key=key, timings=Timings(decode_s=took_s)) for key in keys)))

    def beat(self, peer: bytes, *keys: TaskKey, sink: str = "results") -> list[Any]:
        """Let a worker's heartbeat arrive."""
        return self.hear(peer, Heartbeat(running=keys, sink=sink))

    def wait(self, seconds: float, *alive: bytes, step_s: float = 0.25) -> list[Any]:
        """Let time pass, with heartbeats from the sink and from `alive` workers; return what was sent."""
        sent: list[Any] = []
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now = min(self.now + step_s, until)
            for peer in (SINK, *alive):
                if peer in self.leases.workers:
                    self.beat(peer, *self.leases.workers[peer].held)
                elif peer == self.leases.sink.peer:
                    self.hear(peer, Heartbeat())
            sent += [send.message for send in self.take(self.leases.tick(self.now))]
        return sent

    def die(self, peer: bytes, *, after_s: float = 1e-6) -> list[Any]:
        """Let the transport find a worker gone, a while after it was given what it holds."""
        self.now += after_s
        return [send.message for send in self.take(self.leases.gone(peer, self.now))]

    def noted(self, event: str) -> list[Note]:
        """Return the notes of one kind."""
        return [note for note in self.notes if note.event == event]


@pytest.fixture
def harness() -> Iterator[CoreHarness]:
    """Return a harness with a sink and one worker of two slots; invariants are checked once more at the end."""
    harness = CoreHarness()
    harness.sink()
    harness.join(b"a")
    yield harness
    harness.leases.validate()


def test_work_is_leased_lowest_position_first_and_no_more_than_there_are_slots(harness: CoreHarness) -> None:
    """A worker holds at most what it asked for, in the stream's order."""
    harness.miss((3, 9))
    assert {b"a": [key(3), key(4)]} == harness.deal()
    assert {} == harness.deal()
    harness.finish(b"a", key(3))
    assert {b"a": [key(5)]} == harness.deal()


def test_workers_are_served_in_turn(harness: CoreHarness) -> None:
    """Neighbouring tasks go to different workers, so that the head of the stream is worked on by all."""
    harness.join(b"b")
    harness.miss((0, 4))
    assert {b"a": [key(0), key(2)], b"b": [key(1), key(3)]} == harness.deal()


def test_the_leases_of_a_dead_worker_go_back_to_the_front(harness: CoreHarness) -> None:
    """What it held comes before all that was not leased yet."""
    harness.miss((0, 9))
    harness.deal()
    harness.die(b"a")
    harness.join(b"b", slots=3)
    for offset in range(4):
        assert {b"b": [key(0, offset)]} == harness.deal()
        harness.finish(b"b", key(0, offset))
    assert [key(1), key(2), key(3)] == harness.deal()[b"b"]


def test_a_silent_worker_is_lost_after_silence_s_and_not_before(harness: CoreHarness) -> None:
    """Heartbeats are all that counts, and their absence is noticed in time."""
    harness.miss((0, 2))
    harness.deal()
    harness.wait(4.75)
    assert b"a" in harness.leases.workers
    harness.wait(0.5)
    assert b"a" not in harness.leases.workers
    assert 1 == len(harness.noted("worker silent"))


def test_a_worker_that_missed_heartbeats_gets_nothing_new_until_it_is_heard(harness: CoreHarness) -> None:
    """It may be dead: what it were given would wait for its silence to expire, and be charged with its death."""
    harness.wait(3.0)
    harness.miss((0, 2))
    assert {} == harness.deal()
    harness.beat(b"a")
    assert {b"a": [key(0), key(1)]} == harness.deal()


def test_a_worker_that_leaves_on_purpose_is_charged_with_nothing(harness: CoreHarness) -> None:
    """Its leases go back whole: nobody died."""
    harness.miss((0, 2))
    harness.deal()
    harness.hear(b"a", Goodbye(unstarted=(key(1),)))
    harness.join(b"b")
    assert {b"b": [key(0), key(1)]} == harness.deal()


def test_only_the_task_that_ran_is_charged_with_a_death(harness: CoreHarness) -> None:
    """The oldest lease is the one that runs: it is retried item by item, the others are not split."""
    harness.miss((0, 2))
    harness.deal()
    harness.die(b"a")
    for number in range(9):
        harness.join(f"b{number}".encode())
    dealt = []
    while sends := harness.take(harness.leases.dispatch(harness.now)):
        for send in sends:
            assert isinstance(send.message, Tasks)
            dealt += [(task.key, task.attempt, len(task.items)) for task in send.message.tasks]
    assert [(key(0, n), 1, 1) for n in range(4)] + [(key(1), 0, 4)] == sorted(dealt, key=str)


def test_a_task_that_could_not_be_sent_did_not_kill_who_was_to_get_it(harness: CoreHarness) -> None:
    """A worker that died idle is found unreachable when it is given something: that is not split, nor charged."""
    harness.miss((0, 1))
    harness.deal()
    harness.die(b"a", after_s=0.0)
    harness.join(b"b")
    assert {b"b": [key(0)]} == harness.deal()


def test_who_may_have_killed_a_worker_runs_alone(harness: CoreHarness) -> None:
    """A worker's last words may die with it: an item is suspected in another's place once, and not a second time."""
    harness.miss((0, 9))
    harness.deal()
    harness.die(b"a")  # it had finished 0, unheard, and died of 1
    for turn in range(3):
        peer = f"b{turn}".encode()
        harness.join(peer, slots=3)
        for offset in range(4 if turn == 0 else 0):
            assert {peer: [key(0, offset)]} == harness.deal(), "with nothing beside it that could be to blame"
            harness.finish(peer, key(0, offset))
        if turn == 0:
            assert [key(1), key(2), key(3)] == harness.deal()[peer]
        else:
            assert {peer: [key(1, 0)]} == harness.deal()
        harness.die(peer)
    work = harness.leases.queues["train"].works
    assert [0, 3] == [work[key(0, 1)].deaths - 1, work[key(1, 0)].deaths]


def test_a_reserved_worker_that_hangs_is_not_waited_for(harness: CoreHarness) -> None:
    """What is suspected goes to another worker when the one that was to run it is stuck in what it has."""
    harness.join(b"b", slots=1)
    harness.miss((0, 3))
    assert {b"a": [key(0), key(2)], b"b": [key(1)]} == harness.deal()
    harness.die(b"b")
    assert {} == harness.deal()
    harness.wait(2.5, b"a")
    harness.join(b"c")
    assert {b"c": [key(1, 0)]} == harness.deal()


def test_workers_that_were_reserved_take_any_work_again(harness: CoreHarness) -> None:
    """Once nothing is suspected all slots are used."""
    harness.join(b"b")
    harness.miss((0, 9))
    harness.deal()
    harness.die(b"a")
    for _ in range(20):
        for peer, keys in harness.deal().items():
            harness.finish(peer, *keys)
    held = harness.leases.workers[b"b"].held
    harness.finish(b"b", *held)
    harness.miss((20, 29))
    harness.deal()
    assert 0 == harness.leases.workers.reserved
    assert 2 == len(harness.leases.workers[b"b"].held)


def kill_for(harness: CoreHarness, wanted: TaskKey, names: Iterator[int]) -> list[Any]:
    """Let a fresh worker of one slot get `wanted` and die of it; others finish what comes before it."""
    while True:
        peer = f"w{next(names)}".encode()
        harness.join(peer, slots=1)
        [[got]] = (harness.deal() or harness.deal()).values()
        if got == wanted:
            return harness.die(peer)
        harness.finish(peer, got)
        harness.hear(peer, Goodbye())


def test_an_item_is_given_up_after_three_deaths_and_its_neighbours_survive(harness: CoreHarness) -> None:
    """The sink is told the item, the reason and the attempts; the other items of its task are delivered alone."""
    harness.hear(b"a", Goodbye())
    harness.miss((5, 6))
    names = iter(range(100))
    assert [] == kill_for(harness, key(5), names)
    assert [] == kill_for(harness, key(5, 0), names)
    [message] = kill_for(harness, key(5, 0), names)
    task = make_task(harness.plans["train"], key(5, 0))
    assert isinstance(message, Quarantined)
    assert (key(5, 0), 3, task.items[0].item, 0) == (
        message.key,
        message.failure.attempts,
        message.failure.item,
        message.failure.offset,
    )
    assert "died 3 times" in message.failure.reason
    assert [message.failure.path] == [note.fields["path"] for note in harness.noted("item quarantined")]
    harness.join(b"z", slots=9)
    for offset in (1, 2, 3):
        assert {b"z": [key(5, offset)]} == harness.deal()
        harness.finish(b"z", key(5, offset))


def test_an_item_that_was_given_up_is_told_until_the_sink_misses_it_no_more(harness: CoreHarness) -> None:
    """The message may be lost; then it is repeated with the heartbeats."""
    harness.hear(b"a", Goodbye())
    harness.miss((5, 6))
    names = iter(range(100))
    for wanted in (key(5), key(5, 0), key(5, 0)):
        kill_for(harness, wanted, names)
    assert 2 == sum(isinstance(message, Quarantined) for message in harness.wait(2.0))
    harness.miss((5, 6), partial=((5, (0,)),))
    assert 0 == sum(isinstance(message, Quarantined) for message in harness.wait(2.0))


def test_poison_is_remembered_in_later_epochs(harness: CoreHarness) -> None:
    """The item is given up again at once and its neighbours run alone: no worker dies of it a second time."""
    harness.hear(b"a", Goodbye())
    plan = harness.plans["train"]
    harness.miss((2, 3))
    names = iter(range(100))
    for wanted in (key(2), key(2, 1), key(2, 1), key(2, 1)):
        if wanted.item_offset:
            harness.miss((2, 3), partial=((2, (0,)),))
        kill_for(harness, wanted, names)
        if harness.leases.queues["train"].poison:
            break
    [item] = harness.leases.queues["train"].poison
    per_epoch = plan.geometry.tasks_per_epoch
    [(ordinal, offset)] = [
        (ordinal, task.index(item))
        for ordinal in range(per_epoch, 2 * per_epoch)
        if item in (task := [entry.item for entry in make_task(plan, key(ordinal)).items])
    ]
    told = harness.miss((ordinal, ordinal + 1))
    assert [(key(ordinal, offset), item)] == [(message.key, message.failure.item) for message in told]
    assert [offset] == [message.failure.offset for message in told]
    harness.join(b"z", slots=9)
    assert [key(ordinal, n) for n in range(4) if n != offset] == harness.deal()[b"z"]


def test_a_worker_that_comes_back_was_not_killed_by_its_task(harness: CoreHarness) -> None:
    """A lost link is not a death: under its incarnation it takes back what its task was charged."""
    policy_attempts = harness.leases.policy.attempts
    harness.miss((0, 1))
    for turn in range(3 * policy_attempts):
        harness.deal()
        harness.die(b"a" if turn == 0 else f"a{turn}".encode())
        harness.join(f"a{turn + 1}".encode(), incarnation="a")
    assert {} == harness.leases.queues["train"].poison
    assert {0} == {work.deaths for work in harness.leases.queues["train"].works.values()}


def test_a_worker_under_a_fresh_identity_replaces_its_old_self_at_once(harness: CoreHarness) -> None:
    """Its leases need not wait until the old identity has been silent for long enough."""
    harness.miss((0, 2))
    harness.deal()
    harness.join(b"a2", incarnation="a")
    assert [b"a2"] == list(harness.leases.workers)
    assert {b"a2": [key(0), key(1)]} == harness.deal()


def test_a_stalled_worker_is_hedged_and_gets_nothing_more(harness: CoreHarness) -> None:
    """When the head of the stream is far older than its peers, another worker gets all that the stalled one holds."""
    harness.miss((0, 9))
    harness.join(b"b")
    harness.deal()
    for ordinal in (1, 3):
        harness.finish(b"b", key(ordinal))
        harness.wait(0.25, b"a", b"b")
    harness.miss((0, 1), (2, 3), (4, 9))
    assert [] == harness.noted("hedged")
    harness.wait(2.0, b"a", b"b")
    assert [0] == [note.fields["task"] for note in harness.noted("hedged")]
    assert {b"b": [key(0), key(2)]} == harness.deal()
    harness.finish(b"b", key(0), key(2))
    assert {b"b": [key(4), key(5)]} == harness.deal()
    harness.finish(b"a", key(0))
    assert {b"a": [key(6)]} == harness.deal()


def test_what_is_hedged_never_goes_to_who_holds_it_already(harness: CoreHarness) -> None:
    """A worker that recovers goes on with what it holds, and is given other work beside."""
    harness.miss((0, 4))
    harness.deal()
    harness.wait(3.0, b"a")
    assert 1 == len(harness.noted("hedged"))
    harness.finish(b"a", key(0))
    assert {b"a": [key(2)]} == harness.deal()
    harness.join(b"b")
    assert {b"b": [key(1), key(3)]} == harness.deal()


def test_a_worker_that_is_slow_like_all_others_is_not_hedged(harness: CoreHarness) -> None:
    """Patience grows with the time that a task typically takes."""
    harness.miss((0, 9))
    harness.deal()
    harness.finish(b"a", key(0), took_s=10.0)
    harness.miss((1, 9))
    harness.wait(30.0, b"a")
    assert [] == harness.noted("hedged")
    harness.wait(12.0, b"a")
    assert 1 == len(harness.noted("hedged"))


def test_what_was_hedged_and_made_is_waited_for(harness: CoreHarness) -> None:
    """Its result is on its way, over a slow line perhaps: making it again at every turn would only delay it more."""
    harness.join(b"b")
    harness.miss((0, 9))
    assert [key(0), key(2)] == harness.deal()[b"a"]
    harness.finish(b"b", key(1), key(3))
    harness.wait(3.0, b"a", b"b")
    assert [key(0), key(2)] == harness.deal()[b"b"]
    assert 1 == len(harness.noted("hedged"))
    harness.finish(b"b", key(0), key(2))
    harness.wait(3.0, b"a", b"b")
    assert 1 == len(harness.noted("hedged"))
    assert {b"b": [key(4), key(5)]} == harness.deal()


def test_a_result_that_the_sink_does_not_confirm_is_leased_again(harness: CoreHarness) -> None:
    """It was lost on its way: after confirm_s seconds the task is ready again."""
    harness.miss((0, 1))
    harness.deal()
    harness.finish(b"a", key(0))
    harness.wait(9.75, b"a")
    assert {} == harness.deal()
    harness.wait(0.5, b"a")
    assert {b"a": [key(0)]} == harness.deal()


def test_a_result_behind_others_on_a_slow_line_has_time(harness: CoreHarness) -> None:
    """Each that arrives buys those behind it confirm_s seconds; one that was overtaken is lost."""
    harness.miss((0, 2))
    harness.deal()
    harness.finish(b"a", key(0))
    harness.wait(1.0, b"a")
    harness.finish(b"a", key(1))
    harness.wait(8.0, b"a")
    harness.miss((1, 2))
    harness.wait(9.75, b"a")
    assert {} == harness.deal(), "18 s after it was sent, 10 s after the one before it arrived"
    harness.wait(0.5, b"a")
    assert {b"a": [key(1)]} == harness.deal()


def test_an_overtaken_result_is_lost_and_blames_nobody(harness: CoreHarness) -> None:
    """One link keeps its order: a message went with a connection that broke."""
    harness.miss((0, 2))
    harness.deal()
    harness.finish(b"a", key(0))
    harness.wait(1.0, b"a")
    harness.finish(b"a", key(1))
    harness.miss((0, 1))
    harness.wait(9.25, b"a")
    assert {b"a": [key(0)]} == harness.deal()
    assert [] == harness.noted("results do not arrive")


def test_what_does_not_arrive_is_waited_for_twice_as_long_each_time(harness: CoreHarness) -> None:
    """Else a line that needs more than confirm_s seconds for one result would carry repetitions only."""
    harness.miss((0, 1))
    for patience_s in (10.0, 20.0, 40.0):
        harness.deal()
        harness.finish(b"a", key(0))
        harness.wait(patience_s - 0.25, b"a")
        assert {} == harness.deal()
        harness.wait(0.5, b"a")
    assert {b"a": [key(0)]} == harness.deal()


def test_a_worker_none_of_whose_results_arrives_takes_no_work_from_others(harness: CoreHarness) -> None:  # noqa: PLR0915 - one story
    """It is benched, tried with one task, benched for twice as long; one that arrives restores it."""
    harness.join(b"b")
    harness.miss((0, 9))
    harness.deal()
    harness.finish(b"b", key(1), key(3))
    harness.wait(10.25, b"a", b"b")
    assert ["b"] == [note.fields["worker"] for note in harness.noted("results do not arrive")]
    harness.finish(b"a", key(0), key(2))
    harness.miss((1, 2), (3, 9))
    assert {b"a": [key(1), key(3)]} == harness.deal(), "b gets nothing"
    harness.finish(b"a", key(1), key(3))
    harness.miss((4, 9))
    harness.wait(9.0, b"a", b"b")
    assert [key(4), key(5)] == harness.deal()[b"a"]
    harness.wait(1.5, b"a", b"b")
    assert {b"b": [key(6)]} == harness.deal(), "one task on trial"
    harness.finish(b"b", key(6))
    harness.wait(9.5, b"a", b"b")
    assert {} == harness.deal(), "nothing more until it is known what became of that"
    harness.wait(1.0, b"a", b"b")
    assert 2 == len(harness.noted("results do not arrive"))
    harness.finish(b"a", key(4), key(5))
    harness.miss((6, 9))
    assert [key(6), key(7)] == harness.deal()[b"a"]
    harness.finish(b"a", key(6), key(7))
    harness.miss((8, 9))
    harness.wait(18.5, b"a", b"b")
    assert {b"a": [key(8)]} == harness.deal(), "benched for twice as long"
    harness.finish(b"a", key(8))
    harness.miss((10, 12))
    harness.wait(2.0, b"a", b"b")
    assert {b"a": [key(10)], b"b": [key(11)]} == harness.deal()
    harness.finish(b"b", key(11))
    harness.miss((12, 20))
    assert 1 == len(harness.noted("results arrive again"))
    assert 2 == len(harness.deal()[b"b"])


def test_another_sink_begins_anew_with_every_worker(harness: CoreHarness) -> None:
    """Who had the wrong address, or no way to the last one, may reach this one."""
    harness.join(b"b")
    harness.miss((0, 9))
    harness.deal()
    harness.finish(b"b", key(1), key(3))
    harness.wait(10.25, b"a", b"b")
    assert 1 == len(harness.noted("results do not arrive"))
    harness.sink(b"other")
    harness.miss((20, 29), peer=b"other")
    assert [key(20), key(21)] == harness.deal()[b"b"]


def test_a_worker_that_is_alone_is_not_benched(harness: CoreHarness) -> None:
    """There is nobody to do better: it goes on, with one task at a time."""
    harness.miss((0, 9))
    harness.deal()
    harness.finish(b"a", key(0), key(1))
    harness.wait(10.5, b"a")
    assert {b"a": [key(0)]} == harness.deal()


def test_a_worker_that_cannot_reach_the_sink_gives_up_what_it_holds_until_it_can(harness: CoreHarness) -> None:
    """Others get it at once; nobody is charged; the ventilator says it in the worker's words."""
    harness.join(b"b")
    harness.miss((0, 4))
    assert [key(0), key(2)] == harness.deal()[b"a"]
    harness.finish(b"b", key(1), key(3))
    harness.hear(b"a", Heartbeat(running=(key(0),), sink="results", blocked="no way"))
    harness.hear(b"a", Heartbeat(running=(key(0),), sink="results", blocked="no way"))
    assert [{"worker": "a", "why": "no way"}] == [note.fields for note in harness.noted("worker cannot reach the sink")]
    assert {b"b": [key(0), key(2)]} == harness.deal()
    assert 0 == sum(work.deaths for work in harness.leases.queues["train"].works.values())
    harness.miss((0, 8))
    harness.finish(b"a", key(0))
    assert {} == harness.deal()
    harness.beat(b"a")
    assert [key(4), key(5)] == harness.deal()[b"a"]
    assert 1 == len(harness.noted("worker reaches the sink again"))


def test_a_confirmed_task_is_forgotten_even_while_it_is_leased(harness: CoreHarness) -> None:
    """What is not missing needs no work; the late result is a duplicate for the sink."""
    harness.miss((0, 2))
    harness.deal()
    harness.miss((1, 2))
    harness.hear(b"a", Goodbye())
    harness.join(b"b", slots=9)
    assert [key(1)] == harness.deal()[b"b"]


def test_a_death_whose_last_words_were_lost_is_charged_to_nobody(harness: CoreHarness) -> None:
    """The oldest lease had come already: which one ran is not known, and guessing would charge the innocent."""
    harness.miss((0, 2))
    harness.deal()
    harness.miss((1, 2))
    harness.die(b"a")
    assert {(key(1), 0)} == {(key, work.deaths) for key, work in harness.leases.queues["train"].works.items()}


def test_a_stalled_worker_s_death_is_charged_to_nothing_but_what_stalled_it(harness: CoreHarness) -> None:
    """Its task came from another worker meanwhile; what it never got to is not to blame."""
    harness.miss((0, 9))
    harness.deal()
    harness.wait(3.0, b"a")
    assert 1 == len(harness.noted("hedged"))
    harness.miss((1, 9))
    harness.die(b"a")
    assert {0} == {work.deaths for work in harness.leases.queues["train"].works.values()}


def test_leases_that_a_worker_does_not_know_of_are_leased_again(harness: CoreHarness) -> None:
    """The message with the tasks was lost: heartbeats that do not list them say so, once it cannot be under way."""
    harness.miss((0, 1))
    harness.deal()
    harness.now = 4.0
    harness.beat(b"a")
    assert {} == harness.deal()
    harness.now = 5.1
    harness.beat(b"a")
    assert {b"a": [key(0)]} == harness.deal()


def test_a_worker_that_pushes_to_another_sink_is_welcomed_again(harness: CoreHarness) -> None:
    """The welcome that named the new sink was lost: the heartbeat shows it."""
    assert [] == harness.beat(b"a", sink="results")
    [welcome] = harness.beat(b"a", sink="old results")
    assert isinstance(welcome, WorkerWelcome)
    assert "results" == welcome.sink


def test_stale_progress_is_ignored(harness: CoreHarness) -> None:
    """A report that was overtaken by a newer one changes nothing."""
    harness.sequence = 5
    harness.miss((4, 6))
    harness.sequence = 3
    harness.miss((0, 2))
    assert {b"a": [key(4), key(5)]} == harness.deal()


@pytest.mark.parametrize("missing", [((3, 3),), ((5, 4),), ((0, 2), (1, 3)), ((0, MAX_MISSING + 1),)])
def test_progress_that_makes_no_sense_is_rejected(harness: CoreHarness, missing: tuple[tuple[int, int], ...]) -> None:
    """Nothing that a sink says can stop the ventilator from answering others."""
    need = StreamNeed(stream="train", missing=missing)
    with pytest.raises(RemoteProtocolError, match="progress"):
        harness.leases.receive(SINK, Progress(sequence=9, needs=(need,)), harness.now)
    harness.leases.validate()


def test_another_sink_starts_from_what_it_says(harness: CoreHarness) -> None:
    """Nothing is leased between its hello and its first report, and workers learn its address."""
    harness.miss((0, 9))
    welcomes = harness.sink(b"sink 2", results="elsewhere")
    assert [SinkWelcome, WorkerWelcome] == [type(message) for message in welcomes]
    assert "elsewhere" == welcomes[1].sink
    assert {} == harness.deal()
    harness.miss((7, 8), peer=b"sink 2")
    assert {b"a": [key(7)]} == harness.deal()


def test_a_sink_that_says_hello_again_is_only_welcomed_again(harness: CoreHarness) -> None:
    """Its welcome was lost; neither work nor the order of its reports is."""
    harness.sequence = 8
    harness.miss((0, 2))
    assert [SinkWelcome] == [type(message) for message in harness.sink()]
    harness.sequence = 4
    harness.miss((5, 6))
    assert {b"a": [key(0), key(1)]} == harness.deal()


def test_a_silent_sink_stops_the_work(harness: CoreHarness) -> None:
    """Results would go nowhere: nothing is leased until a sink is there again."""
    harness.miss((0, 9))
    harness.now = 5.1
    harness.beat(b"a")
    harness.take(harness.leases.tick(harness.now))
    assert 1 == len(harness.noted("sink silent"))
    assert {} == harness.deal()


def test_items_that_the_sink_had_and_dropped_are_made_again() -> None:
    """Parts of a split task are missing again when the reader that wanted them left: absolute reports say so."""
    harness = CoreHarness()
    harness.sink()
    harness.join(b"a", slots=1)
    harness.miss((0, 1))
    harness.deal()
    harness.die(b"a")
    harness.miss((0, 1), partial=((0, (0, 1, 2)),))
    harness.miss((0, 1))
    harness.join(b"b", slots=9)
    assert {b"b": [key(0, 3)]} == harness.deal()
    harness.finish(b"b", key(0, 3))
    assert {b"b": [key(0, 0), key(0, 1), key(0, 2)]} == harness.deal()


def test_unknown_peers_are_told_to_start_over(harness: CoreHarness) -> None:
    """A ventilator that was restarted knows nobody; whoever speaks to it says hello again. Leaving needs no answer."""
    assert [Reset()] == harness.hear(b"x", Heartbeat(running=()))
    assert [Reset()] == harness.hear(b"x", Finished(done=()))
    assert [Reset()] == harness.hear(b"x", Progress(sequence=1, needs=()))
    assert [] == harness.hear(b"x", Goodbye())


def test_other_versions_are_refused_in_words(harness: CoreHarness) -> None:
    """Worker and sink learn both versions and what to do."""
    hello = Hello(worker="x", incarnation="x", host="h", slots=1, version="0.9")
    sink = SinkHello(incarnation="x", results="r", version="0.9")
    for message in (*harness.hear(b"x", hello), *harness.hear(b"y", sink)):
        assert isinstance(message, Drain)
        assert "0.9" in message.reason
        assert "1.0: install the same" in message.reason


def test_peers_may_only_send_what_is_theirs(harness: CoreHarness) -> None:
    """A worker that reports progress breaks the protocol; so does a sink that finishes tasks."""
    for peer, message in ((b"a", Progress(sequence=1, needs=())), (SINK, Finished(done=()))):
        with pytest.raises(RemoteProtocolError, match="unexpected"):
            harness.leases.receive(peer, message, 0.0)


def test_streams_share_the_workers_by_how_far_ahead_they_are() -> None:
    """The stream whose next work is nearest to its trainer, in windows, goes first: none starves."""
    harness = CoreHarness(make_plan("train", items=100), make_plan("validation", items=100))
    harness.sink()
    harness.join(b"a", slots=8)
    needs = tuple(StreamNeed(stream=name, missing=((0, 20),)) for name in harness.plans)
    harness.hear(SINK, Progress(sequence=1, needs=needs))
    streams = [key.stream for key in harness.deal()[b"a"]]
    assert {"train": 4, "validation": 4} == {name: streams.count(name) for name in harness.plans}


def test_a_stopped_stream_is_told_once(harness: CoreHarness) -> None:
    """The reason that the sink gives is logged by the ventilator too, not with every report."""
    harness.miss(stopped="too many failures")
    harness.miss(stopped="too many failures")
    assert ["too many failures"] == [note.fields["reason"] for note in harness.noted("stream stopped")]


def test_a_seek_back_and_forth_does_not_leak() -> None:
    """The heap of ready work is made anew when most of it is out of date."""
    harness = CoreHarness(make_plan(items=10_000))
    harness.sink()
    for _ in range(30):
        harness.miss((0, 500))
        harness.miss((1500, 2000))
    assert len(harness.leases.queues["train"]._ready) < 5000


class LeasesMachine(RuleBasedStateMachine):
    """Any events in any order: invariants hold, and work that is missing can always be got at."""

    @initialize(items=st.integers(1, 30), task_items=st.integers(1, 5))
    def begin(self, items: int, task_items: int) -> None:
        """Start with a sink."""
        self.harness = CoreHarness(make_plan(items=items, task_items=task_items))
        self.harness.sink()
        self.joined = 0
        self.missing: set[int] = set()

    def _some(self, data: st.DataObject) -> bytes:
        return data.draw(st.sampled_from(sorted(self.harness.leases.workers)))

    def _has_workers(self) -> bool:
        return bool(self.harness.leases.workers)

    @rule(slots=st.integers(1, 4), same=st.booleans())
    def join(self, slots: int, same: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        """A worker joins, perhaps one that was here before."""
        self.joined += 1
        incarnation = f"w{self.joined // 2 if same else self.joined}"
        self.harness.join(f"{incarnation}.{self.joined}".encode(), slots, incarnation)

    @rule(missing=st.sets(st.integers(0, 12)), data=st.data())
    def progress(self, missing: set[int], data: st.DataObject) -> None:
        """The sink reports any need."""
        self.missing = missing
        partial = {}
        for ordinal in sorted(missing):
            size = len(self.harness.plans["train"].geometry.slots(ordinal))
            if size > 1 and data.draw(st.booleans()):
                partial[ordinal] = tuple(sorted(data.draw(st.sets(st.integers(0, size - 1), max_size=size - 1))))
        self.harness.miss(*((n, n + 1) for n in missing), partial=tuple(partial.items()))

    @rule()
    def deal(self) -> None:
        """Ready work is leased."""
        self.harness.deal()

    @precondition(_has_workers)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """A worker finishes some of what it holds, in order or not."""
        peer = self._some(data)
        held = list(self.harness.leases.workers[peer].held)
        if held:
            self.harness.finish(peer, *data.draw(st.lists(st.sampled_from(held), unique=True)))

    @precondition(_has_workers)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        """A heartbeat that knows only some of the leases."""
        peer = self._some(data)
        held = list(self.harness.leases.workers[peer].held)
        known = data.draw(st.lists(st.sampled_from(held), unique=True)) if held else []
        self.harness.beat(peer, *known)

    @precondition(_has_workers)
    @rule(data=st.data(), how=st.sampled_from(["gone", "goodbye"]))
    def leave(self, data: st.DataObject, how: str) -> None:
        """A worker dies or leaves."""
        peer = self._some(data)
        if how == "gone":
            self.harness.die(peer)
        else:
            self.harness.hear(peer, Goodbye())

    @rule(seconds=st.sampled_from([0.1, 1.1, 3.0, 6.0]), heard=st.booleans())
    def wait(self, seconds: float, heard: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        """Time passes, with or without heartbeats from the workers."""
        self.harness.wait(seconds, *(tuple(self.harness.leases.workers) if heard else ()), step_s=1.0)

    @rule(peer=st.sampled_from([SINK, b"sink 2"]))
    def sink(self, peer: bytes) -> None:
        """The sink says hello, perhaps another one."""
        if self.harness.leases.sink.peer is None or peer == SINK:
            if self.harness.leases.sink.peer is None:
                self.missing = set()
            sequence = self.harness.sequence
            known = self.harness.leases.sink.peer is not None
            self.harness.sink(SINK)
            self.harness.sequence = sequence if known else 0

    @invariant()
    def all_missing_work_exists(self) -> None:
        """Every missing task is there: ready, leased, on its way or given up (validate says which)."""
        self.harness.leases.validate()
        queue = self.harness.leases.queues["train"]
        if self.harness.leases.sink.peer:
            assert self.missing == set(ranges.members(queue.missing))

    def teardown(self) -> None:
        """In the end a healthy worker can do all that is left."""
        if not hasattr(self, "harness"):
            return
        harness = self.harness
        if harness.leases.sink.peer is None:
            harness.sink()
        for peer in list(harness.leases.workers):
            harness.hear(peer, Goodbye())
        harness.miss(*((n, n + 1) for n in self.missing))
        harness.join(b"last", slots=1000)
        harness.wait(11.0, b"last", step_s=1.0)
        given: set[TaskKey] = set()
        harness.deal()
        while held := set(harness.leases.workers[b"last"].held):  # what is suspected comes piece by piece
            given |= held
            harness.finish(b"last", *held)
            harness.deal()
        works = harness.leases.queues["train"].works
        assert {key for key, work in works.items() if not work.failure} == given


LeasesMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestLeasesMachine = LeasesMachine.TestCase
