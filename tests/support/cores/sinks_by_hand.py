"""A ventilator's core with one worker, and several sinks that are played by hand."""

from typing import Any

from support.plans import LEASE_KEY, PlannedTasks, make_plan

from penstock.protocol.instructions import Note, Send
from penstock.protocol.messages import (
    Done,
    Finished,
    Hello,
    Intervals,
    Progress,
    SinkHello,
    StreamNeed,
    Task,
    Tasks,
    Timings,
)
from penstock.ventilator.core.leases import Leases

INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)


class Stack:
    """A ventilator's core with one worker, and sinks that are played by hand."""

    def __init__(self) -> None:
        """Let the worker join at time 0."""
        self.plan = make_plan(items=40, task_items=4)
        self.leases = Leases(PlannedTasks(self.plan), {}, INTERVALS, "1.0", LEASE_KEY)
        self.now, self.sequence = 0.0, 0
        self.notes: list[Note] = []
        self.hear(b"w", Hello(worker="w", incarnation="w", host="h", slots=9, version="1.0"))

    def take(self, instructions: Any) -> list[tuple[bytes, Any]]:
        """Keep notes; return the messages with their receivers."""
        self.leases.validate()
        self.notes += [each for each in instructions if isinstance(each, Note)]
        return [(each.peer, each.message) for each in instructions if isinstance(each, Send)]

    def hear(self, peer: bytes, message: Any) -> list[tuple[bytes, Any]]:
        """Let a message arrive."""
        return self.take(self.leases.receive(peer, message, self.now))

    def join(self, *names: str) -> list[tuple[bytes, Any]]:
        """Let sinks say hello; their identities are their names. Then wait until outcomes may be decided."""
        sent = []
        for name in names:
            hello = SinkHello(incarnation=f"i{name}", name=name, results=f"results {name}", version="1.0")
            sent += self.claim(name.encode() or b"alone", hello)
        self.now += 3.0
        return sent

    def claim(self, peer: bytes, hello: SinkHello) -> list[tuple[bytes, Any]]:
        """Let a sink say hello, and again a heartbeat later if it has to wait for a place that is given up."""
        sent = self.hear(peer, hello)
        if self.leases.sinks.link(peer) is None:
            self.now += INTERVALS.heartbeat_s
            sent += self.hear(peer, hello)
        return sent

    def need(self, sink: str, *missing: tuple[int, int], **more: Any) -> list[tuple[bytes, Any]]:
        """Let a sink report."""
        self.sequence += 1
        need = StreamNeed.checked({"stream": "train", "missing": missing} | more)
        sent = self.hear(sink.encode(), Progress(sequence=self.sequence, needs=(need,)))
        return sent + self.take(self.leases.review(self.now))

    def deal(self) -> list[Task]:
        """Return what the worker is leased now."""
        sent = self.take(self.leases.dispatch(self.now))
        return [task for _, message in sent if isinstance(message, Tasks) for task in message.tasks]

    def finish(self, *tasks: Task) -> None:
        """Let the worker say that it has sent its results."""
        done = tuple(Done(key=task.key, timings=Timings()) for task in tasks)
        self.hear(b"w", Finished(done=done))
