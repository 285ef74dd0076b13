"""How many samples are made on the node that trains on them, simulated: nodes with a sink, ranks and workers each.

    python benchmarks/topology/nearness.py [--tasks 3000] [--window 64]       # a minute

The ventilator's own core (`ventilator.core.leases`) hands out the tasks; sinks, workers and ranks are simulated. All
ranks train in step: a round takes them a time that is set by the load, and begins once its last batch is there. Tasks
take 0.1 s on average. The table gives the share of samples that stay on their node, with preference and without, the
most that is possible (each node's workers make all that its ranks want, or nothing else), and the rate of training as
a fraction of what ranks and workers can do. The numbers follow from the arguments: nothing is measured by a clock.
"""

import argparse
import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from penstock.protocol.instructions import Instruction, Send
from penstock.protocol.messages import (
    Done,
    Finished,
    Hello,
    Intervals,
    LeaseKey,
    Made,
    Outcomes,
    Paths,
    Progress,
    SinkHello,
    StreamNeed,
    Task,
    TaskKey,
    Tasks,
    Timings,
)
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import from_sorted, normalise
from penstock.protocol.spec.spec import Stream
from penstock.protocol.spec.transform import Resize, Transform
from penstock.sources.directory import DirectorySource
from penstock.ventilator.core.leases import Leases

#: Samples of a task, which is a batch; ranks of a node; seconds of a task; tasks that a worker holds.
_BATCH, _RANKS, _TASK_S, _SLOTS = 64, 8, 0.1, 3
#: Seconds until a sink reports what came.
_REPORT_S = 0.005


class Source:
    """A listing of made-up items."""

    def __init__(self, plan: StreamPlan) -> None:
        """List the items of this stream."""
        self.plans = (plan,)

    def task(self, key: TaskKey, attempt: int) -> Task:
        """Return a task; its items are not read."""
        return Task(key=key, attempt=attempt, epoch=0, items=())

    def paths(self, stream: str, start: int) -> Paths:
        """Return nothing: it is not asked for."""
        raise NotImplementedError((stream, start))


@dataclass(frozen=True, slots=True)
class Node:
    """A machine: how many workers it has, how much slower they are, and whether it trains."""

    workers: int
    slowness: float = 1.0
    trains: bool = True

    @property
    def capacity(self) -> float:
        """Tasks that its workers make per second."""
        return self.workers / (_TASK_S * self.slowness)


@dataclass(slots=True)
class Sink:
    """A sink: which tasks it has, and of which it knows the outcome."""

    number: int
    here: set[int] = field(default_factory=set)
    known: set[int] = field(default_factory=set)
    reports: bool = False


class Run:
    """One case: nodes, the load of the ranks over what all workers can make, and whether hosts are told."""

    def __init__(self, nodes: tuple[Node, ...], load: float, window: int, seed: int, *, blind: bool) -> None:
        """Let all sinks and workers say hello."""
        self._nodes = nodes
        self._training = [number for number, node in enumerate(nodes) if node.trains]
        self._world = _RANKS * len(self._training)
        self._window = window * len(self._training)
        self._round_s = self._world / (load * sum(node.capacity for node in nodes))
        self._dice = random.Random(seed)  # noqa: S311 - no secret
        self._core = Leases(
            Source(_plan()),
            {},
            Intervals(heartbeat_s=3600, silence_s=86400),
            "1",
            LeaseKey(issuer="v", secret="0" * 32),
        )
        self._now, self._sequence, self._count = 0.0, 0, 0
        #: What happens, by time: the end of a worker's task, a sink's report, the end of a round, a decision.
        self._events: list[tuple[float, int, str, object]] = []
        self._queues: dict[bytes, list[Task]] = {}
        self._sinks: dict[bytes, Sink] = {}
        self._base, self._trains = 0, False
        self.near = self.made = 0
        for number in self._training:
            peer = b"sink %d" % number
            hello = SinkHello(
                incarnation=f"{number}",
                name=f"s{number}",
                results=f"ipc:///{number}",
                host="" if blind else f"node-{number}",
                version="1",
            )
            self._core.receive(peer, hello, 0.0)
            self._sinks[peer] = Sink(number)
        workers = [(number, each) for number, node in enumerate(nodes) for each in range(node.workers)]
        self._dice.shuffle(workers)
        for number, each in workers:
            name = f"{number}/{each}"
            self._queues[name.encode()] = []
            greeting = Hello(worker=name, incarnation=name, host=f"node-{number}", slots=_SLOTS, version="1")
            self._core.receive(name.encode(), greeting, 0.0)
        self._now = 3 * 3600.0  # outcomes are decided from now on
        self._do(self._core.dispatch(self._now))

    def go(self, tasks: int) -> float:
        """Train on so many tasks; return how many a second."""
        for peer in self._sinks:
            self._at(0.0, "report", peer)
        self._until(tasks // 4)
        began, base, self.near, self.made = self._now, self._base, 0, 0
        self._until(tasks)
        return (self._base - base) / (self._now - began)

    def _until(self, tasks: int) -> None:
        while self._base < tasks:
            self._now, _, kind, what = heapq.heappop(self._events)
            if kind == "end":
                self._end(what)
            elif kind == "report":
                self._report(what)
            elif kind == "round":
                self._trains = False
            self._train()
            self._do(self._core.dispatch(self._now))
            again = self._core.next_dispatch()
            if again < self._now + 1:
                self._at(max(0.0, again - self._now), "decide", None)

    def _at(self, seconds: float, kind: str, what: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (self._now + seconds, self._count, kind, what))

    def _home(self, ordinal: int) -> int:
        return self._training[ordinal % self._world // _RANKS]

    def _train(self) -> None:
        """Begin the next round if it is there: all ranks take their batches, and the windows move on."""
        tasks = range(self._base, self._base + self._world)
        sinks = {sink.number: sink for sink in self._sinks.values()}
        if self._trains or not all(n in sinks[self._home(n)].here and n in sinks[self._home(n)].known for n in tasks):
            return
        self._trains = True
        self._at(self._round_s, "round", None)
        self._base += self._world
        for peer, sink in self._sinks.items():
            sink.here -= set(tasks)
            sink.known -= set(tasks)
            self._soon(peer)

    def _soon(self, peer: bytes) -> None:
        if not self._sinks[peer].reports:
            self._sinks[peer].reports = True
            self._at(_REPORT_S * self._dice.uniform(0.5, 1.5), "report", peer)

    def _end(self, peer: object) -> None:
        assert isinstance(peer, bytes)  # noqa: S101
        task = self._queues[peer].pop(0)
        ordinal = task.key.ordinal
        self.made += 1
        self.near += self._home(ordinal) == int(peer.decode().partition("/")[0])
        for each in task.destinations:
            self._sinks[b"sink " + each.sink[1:].encode()].here.add(ordinal)
            self._soon(b"sink " + each.sink[1:].encode())
        self._core.receive(peer, Finished(done=(Done(key=task.key, timings=Timings()),)), self._now)
        self._start(peer)

    def _report(self, peer: object) -> None:
        assert isinstance(peer, bytes)  # noqa: S101
        sink = self._sinks[peer]
        sink.reports = False
        window = range(self._base, self._base + self._window)
        lacks = (n for n in window if self._home(n) == sink.number and n not in sink.here)
        need = StreamNeed(
            stream="train",
            missing=from_sorted(n for n in window if n not in sink.known),
            lacks=normalise((n * _BATCH, (n + 1) * _BATCH) for n in lacks),
            made=tuple(Made(ordinal=n, issuer="v", holder=1) for n in sorted(sink.here - sink.known)),
        )
        self._sequence += 1
        self._core.receive(peer, Progress(sequence=self._sequence, needs=(need,)), self._now)

    def _do(self, instructions: Iterable[Instruction]) -> None:
        for each in instructions:
            if isinstance(each, Send) and isinstance(each.message, Tasks):
                idle = not self._queues[each.peer]
                self._queues[each.peer] += each.message.tasks
                if idle:
                    self._start(each.peer)
            elif isinstance(each, Send) and isinstance(each.message, Outcomes):
                sink = self._sinks[each.peer]
                sink.known.update(n for start, stop in each.message.settled for n in range(start, stop))
                self._soon(each.peer)

    def _start(self, peer: bytes) -> None:
        if self._queues[peer]:
            node = self._nodes[int(peer.decode().partition("/")[0])]
            self._at(_TASK_S * node.slowness * self._dice.lognormvariate(-0.045, 0.3), "end", peer)


def _plan() -> StreamPlan:
    settings = Stream(
        source=DirectorySource(kind="directory", root="photos"),
        transform=Transform(resize=Resize(height=144, width=144)),
        batch_size=_BATCH,
        task_items=_BATCH,
    )
    return StreamPlan(name="train", seed=1, settings=settings, items=10**8, classes=("a",), fingerprint="f")


def most(nodes: tuple[Node, ...], load: float) -> float:
    """Return the largest share that can be made near: all that a node's ranks want, or all that its workers make."""
    rate = min(1.0, load) * sum(node.capacity for node in nodes)
    each = rate / sum(node.trains for node in nodes)
    return sum(min(node.capacity, each) for node in nodes if node.trains) / rate


CASES: dict[str, tuple[Node, ...]] = {
    "4 nodes of 8 workers": (Node(8),) * 4,
    "4 nodes of 16, 8, 4 and 4 workers": (Node(16), Node(8), Node(4), Node(4)),
    "3 nodes of 8 workers, one of none": (*(Node(8),) * 3, Node(0)),
    "4 nodes of 8 workers, one half as fast": (*(Node(8),) * 3, Node(8, 2.0)),
    "4 nodes of 4 workers, 16 workers elsewhere": (*(Node(4),) * 4, Node(16, trains=False)),
    "4 nodes without workers, 32 elsewhere": (*(Node(0),) * 4, *(Node(16, trains=False),) * 2),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--window", type=int, default=64, help="tasks of a sink's window")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.6, 0.9, 1.2])
    given = parser.parse_args()
    table = Table("case", "load", "stay on their node", "without preference", "most possible", "rate", "without")
    for name, nodes in CASES.items():
        for load in given.loads:
            row = []
            for blind in (False, True):
                run = Run(nodes, load, given.window, 1, blind=blind)
                rate = run.go(given.tasks)
                row.append((run.near / run.made, rate / (min(1.0, load) * sum(node.capacity for node in nodes))))
            (near, rate), (blindly, plain) = row
            table.add_row(
                name,
                f"{load:g}",
                f"{near:.0%}",
                f"{blindly:.0%}",
                f"{most(nodes, load):.0%}",
                f"{rate:.0%}",
                f"{plain:.0%}",
            )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
