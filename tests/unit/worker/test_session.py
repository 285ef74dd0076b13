"""The worker's core: hello until it is welcomed, tasks once and in order, a drain that finishes what runs."""

from collections.abc import Sequence
from typing import Any

import pytest
from support.plans import make_plan, make_task

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import (
    Credit,
    Done,
    Drain,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    Reset,
    SinkAddress,
    StoryRequest,
    TaskKey,
    Tasks,
    Timings,
    WorkerWelcome,
)
from penstock.worker.session import VENTILATOR, Configure, Run, Stop, Withdraw, WorkerInstruction, WorkerSession

INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)
HELLO = Hello(worker="w", incarnation="i", host="h", slots=3, version="1.0")
WELCOME = WorkerWelcome(
    streams=(make_plan(),), roots={}, sinks=(SinkAddress(results="results", incarnation="s"),), intervals=INTERVALS
)


def key(ordinal: int) -> TaskKey:
    """Return the name of a task."""
    return TaskKey(stream="train", ordinal=ordinal)


class CoreHarness:
    """A worker's session whose shell and ventilator are played by hand."""

    def __init__(self, *, welcomed: bool = True) -> None:
        """Say hello at time 0."""
        self.session = WorkerSession(HELLO, INTERVALS, 0.0)
        assert [HELLO] == self.plain(self.session.start(0.0))
        if welcomed:
            assert [Configure(WELCOME)] == self.hear(WELCOME)

    def plain(self, instructions: Sequence[WorkerInstruction]) -> list[Any]:
        """Return messages, the keys to run, and other instructions."""
        out: list[Any] = []
        for each in instructions:
            match each:
                case Send(peer, message):
                    assert peer == VENTILATOR
                    out.append(message)
                case Run(task):
                    out.append(task.key)
                case Note():
                    pass
                case _:
                    out.append(each)
        return out

    def hear(self, message: Any, now: float = 0.0) -> list[Any]:
        """Let a message arrive."""
        out = self.plain(self.session.receive(message, now))
        self.session.validate()
        return out

    def tasks(self, *ordinals: int) -> list[Any]:
        """Let tasks arrive."""
        return self.hear(Tasks(tasks=tuple(make_task(make_plan(), key(ordinal)) for ordinal in ordinals)))

    def finish(self, *ordinals: int) -> list[Any]:
        """Let results be sent."""
        return self.plain(self.session.finished(done(*ordinals), 0.0))


def done(*ordinals: int) -> tuple[Done, ...]:
    """Return the report of finished tasks."""
    return tuple(Done(key=key(ordinal), timings=Timings()) for ordinal in ordinals)


def test_hello_is_said_again_until_it_is_answered() -> None:
    """Either message may be lost; the ventilator's heartbeats do not stop it."""
    harness = CoreHarness(welcomed=False)
    assert [HELLO] == harness.plain(harness.session.tick(1.0))
    harness.hear(Heartbeat(), 1.5)
    assert [HELLO] == harness.plain(harness.session.tick(2.0))
    harness.hear(WELCOME, 2.5)
    assert [Heartbeat(running=(), sinks=("s",))] == harness.plain(harness.session.tick(3.0))


def test_a_worker_whose_results_get_nowhere_says_so_and_takes_nothing_new() -> None:
    """What waits is withdrawn at once; every heartbeat says why, until results get to the sink again."""
    harness = CoreHarness()
    harness.tasks(1, 2, 3)
    held = (key(1), key(2), key(3))
    beat = Heartbeat(running=held, sinks=("s",), blocked="no way")
    assert [Withdraw(), beat] == harness.plain(harness.session.block("no way"))
    harness.session.withdrawn((key(2), key(3)))
    assert [] == harness.tasks(7)
    assert [Heartbeat(running=(key(1),), sinks=("s",), blocked="no way")] == harness.plain(harness.session.tick(1.0))
    harness.finish(1)
    assert [Heartbeat(running=(), sinks=("s",))] == harness.plain(harness.session.block(""))
    assert [key(7)] == harness.tasks(7)


def test_tasks_are_run_once_in_the_order_they_came() -> None:
    """A message that is repeated queues nothing twice."""
    harness = CoreHarness()
    assert [key(4), key(2)] == harness.tasks(4, 2)
    assert [key(7)] == harness.tasks(4, 7, 2)


def test_tasks_that_come_before_the_welcome_are_left_to_be_leased_again() -> None:
    """Without plans nothing can be run; heartbeats will not list them."""
    harness = CoreHarness(welcomed=False)
    assert [] == harness.tasks(1)
    harness.hear(WELCOME)
    assert [Heartbeat(running=(), sinks=("s",))] == harness.plain(harness.session.tick(1.0))


def test_heartbeats_list_what_is_held_oldest_first() -> None:
    """So that a lost lease, or a lost report, is found out."""
    harness = CoreHarness()
    harness.tasks(4, 2, 9)
    assert [Finished(done=done(4))] == harness.finish(4)
    assert [Heartbeat(running=(key(2), key(9)), sinks=("s",))] == harness.plain(harness.session.tick(1.0))


@pytest.mark.parametrize("how", ["silence", "reset"])
def test_a_lost_ventilator_is_called_again_under_a_fresh_identity(how: str) -> None:
    """What waits is dropped, for it will be leased again; what runs goes on and is reported."""
    harness = CoreHarness()
    harness.tasks(1, 2, 3)
    out = harness.plain(harness.session.tick(5.0)) if how == "silence" else harness.hear(Reset())
    assert [Withdraw(), Reopen(VENTILATOR), HELLO] == out
    assert [] == harness.plain(harness.session.withdrawn((key(2), key(3))))
    harness.hear(WELCOME, 5.0)
    assert [Finished(done=done(1))] == harness.finish(1)
    assert [key(2)] == harness.tasks(2)


def test_a_drain_finishes_what_runs_gives_back_the_rest_and_leaves() -> None:
    """Nothing new is taken meanwhile; the goodbye comes after the last report."""
    harness = CoreHarness()
    harness.tasks(1, 2, 3)
    assert [Withdraw()] == harness.plain(harness.session.drain())
    assert [] == harness.plain(harness.session.withdrawn((key(2), key(3))))
    assert [] == harness.tasks(4)
    assert [] == harness.plain(harness.session.drain())
    assert [Finished(done=done(1)), Goodbye(unstarted=(key(2), key(3))), Stop()] == harness.finish(1)


def test_an_idle_worker_that_is_drained_leaves_at_once() -> None:
    """There is nothing to wait for; what was withdrawn long ago is not given back again."""
    harness = CoreHarness()
    harness.tasks(1)
    harness.hear(Reset())
    harness.session.withdrawn((key(1),))
    harness.plain(harness.session.drain())
    assert [Goodbye(), Stop()] == harness.plain(harness.session.withdrawn(()))


def test_a_refusal_ends_the_worker_in_words() -> None:
    """Another version: the reason is the ventilator's."""
    assert [Failed("install the same")] == CoreHarness(welcomed=False).hear(Drain(reason="install the same"))


def test_the_ventilator_s_intervals_count_from_its_welcome_on() -> None:
    """Until then the worker's own do."""
    harness = CoreHarness(welcomed=False)
    slow = WELCOME.model_copy(update={"intervals": Intervals(heartbeat_s=10.0, silence_s=60.0)})
    harness.hear(slow)
    assert [] == harness.plain(harness.session.tick(9.0))
    assert 10.0 == harness.session.next_timer()


def test_it_shows_where_it_stands_at_a_time() -> None:
    """The record says when it was made and what is held."""
    harness = CoreHarness()
    harness.tasks(1, 2)
    seen = harness.session.observe(2.0)
    assert (2.0, True, "", 2) == (seen.now, seen.welcomed, seen.blocked, seen.held)


def test_a_question_for_a_story_is_answered_with_what_happened_here() -> None:
    """Only the events of the task that is asked about, with their ages."""
    harness = CoreHarness()
    harness.tasks(1, 2)
    harness.finish(1)
    [story] = harness.hear(StoryRequest(number=7, key=key(1)), now=3.0)
    [part] = story.parts
    assert (7, "worker w") == (story.number, part.service)
    assert [(3.0, "queued at w"), (3.0, "sent by w")] == [(event.ago_s, event.what) for event in part.events]


def test_a_message_that_no_ventilator_sends_is_rejected() -> None:
    """It breaks the protocol."""
    with pytest.raises(RemoteProtocolError, match="unexpected"):
        CoreHarness().hear(Credit(consumed=0, limit=1))


def test_liveness_knows_when_to_speak_and_when_a_peer_is_lost() -> None:
    """The timer is the earlier of the two."""
    live = Liveness(INTERVALS, heard_at=10.0, spoke_at=12.0)
    assert (False, True) == (live.due(12.9), live.due(13.0))
    assert (False, True) == (live.lost(14.9), live.lost(15.0))
    assert 13.0 == live.timer()


def test_a_ventilator_that_takes_over_gets_a_worker_with_an_empty_queue() -> None:
    """What its predecessor leased is leased anew; a welcome of the same ventilator changes nothing but the sinks."""
    harness = CoreHarness()
    assert [Configure(WELCOME)] == harness.hear(WELCOME)
    successor = WELCOME.model_copy(update={"term": 7})
    instructions = harness.session.receive(successor, 1.0)
    assert [Withdraw(), Configure(successor)] == [each for each in instructions if not isinstance(each, Note)]
