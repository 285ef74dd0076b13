"""How often an image is in the cache of the host that decodes it: simulated, with 1, 2 and 5 hosts coming and going.

    python benchmarks/affinity.py [--items 20000] [--epochs 5] [--blind]

The ventilator's own core (`ventilator.core.leases`) hands out the tasks of a shuffled stream; workers and their hosts'
caches are simulated: a host has what it decoded before, up to its room, and a hit takes an eighth of a miss's time. The
sink confirms at once, and keeps a window of samples missing ahead of the trainer. The second table is the same without
preference (`--blind` alone prints only that). *Idle* is the part of the workers' time, over all epochs, in which they
had nothing to do. The numbers follow from the arguments: nothing is measured by a clock.
"""

import argparse
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from penstock.protocol.instructions import Instruction, Send
from penstock.protocol.messages import (
    Done,
    Finished,
    Goodbye,
    Hello,
    Intervals,
    Item,
    LeaseKey,
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
from penstock.protocol.ranges import from_sorted
from penstock.protocol.spec.spec import Cache, Stream
from penstock.protocol.spec.transform import Resize, Transform
from penstock.sources.directory import DirectorySource
from penstock.ventilator.core.leases import Leases

_MISS_S, _HIT_S = 0.008, 0.001
_SINK = b"sink"
#: Tasks that are missing at the sink at once, and that a worker holds.
_WINDOW, _SLOTS = 64, 4


class Source:
    """A listing of made-up items."""

    def __init__(self, plan: StreamPlan) -> None:
        """List the items of this stream."""
        self.plans = (plan,)

    def task(self, key: TaskKey, attempt: int) -> Task:
        """Return a task with its items."""
        [plan] = self.plans
        numbers = plan.indices(key.ordinal, key.which).tolist()
        items = tuple(Item(item=item, path=str(item), label=0) for item in numbers)
        epoch = key.ordinal // plan.geometry.tasks_per_epoch
        return Task(key=key, attempt=attempt, epoch=epoch, items=items)

    def paths(self, stream: str, start: int) -> Paths:
        """Return nothing: nobody asks."""
        raise NotImplementedError((stream, start))


@dataclass(slots=True)
class Host:
    """A host: its workers, how much slower they are, and what its cache holds."""

    name: str
    workers: int
    room: int
    slowness: float = 1.0
    kept: set[int] = field(default_factory=set)

    def take(self, item: int) -> bool:
        """Return whether an item is in the cache; it is from now on, if there is room."""
        if item in self.kept:
            return True
        if len(self.kept) < self.room:
            self.kept.add(item)
        return False


@dataclass(frozen=True, slots=True)
class Change:
    """A host that joins or leaves when an epoch is half done."""

    epoch: int
    host: str
    joins: bool


@dataclass(frozen=True, slots=True)
class Case:
    """Hosts, and when they come and go."""

    name: str
    hosts: tuple[Host, ...]
    absent: frozenset[str] = frozenset()
    changes: tuple[Change, ...] = ()


def make_plan(items: int, *, keeps: bool) -> StreamPlan:
    """Return a stream of images of 150 × 150, in tasks of 32."""
    settings = Stream(
        source=DirectorySource(kind="directory", root="photos"),
        transform=Transform(resize=Resize(height=150, width=150)),
        batch_size=32,
        task_items=32,
        cache=Cache(gb=1.0) if keeps else None,
    )
    return StreamPlan(name="train", seed=1, settings=settings, items=items, classes=("a",), fingerprint="f")


class Run:
    """One case from its first epoch to its last."""

    def __init__(self, case: Case, plan: StreamPlan) -> None:
        """Let the hosts that are there from the beginning say hello."""
        key = LeaseKey(issuer="v", secret="0" * 32)
        self._core = Leases(Source(plan), {}, Intervals(heartbeat_s=3600, silence_s=86400), "1", key)
        self._geometry = plan.geometry
        self._hosts = {host.name: host for host in case.hosts}
        self._now, self._sequence = 0.0, 0
        #: Offsets of the items that have come of each task.
        self._arrived: dict[int, set[int]] = {}
        self._low = 0
        #: What runs, by the time of its end; and what each worker waits with.
        self._running: list[tuple[float, int, bytes, Task]] = []
        self._queues: dict[bytes, list[Task]] = {}
        self._count = 0
        self.hits: dict[int, list[int]] = {}
        #: Seconds that workers were there, and that they had nothing to do, without what still goes on: it began then.
        self._present_s = self._idle_s = 0.0
        self._joined: dict[bytes, float] = {}
        self._idle_since: dict[bytes, float] = {}
        self._core.receive(_SINK, SinkHello(incarnation="s", results="ipc:///x", version="1"), 0.0)
        for host in case.hosts:
            if host.name not in case.absent:
                self.join(host.name)

    def join(self, name: str) -> None:
        """Start a host's workers."""
        for number in range(self._hosts[name].workers):
            peer = f"{name}/{number}".encode()
            hello = Hello(worker=peer.decode(), incarnation=f"{name}/{number}", host=name, slots=_SLOTS, version="1")
            self._queues[peer] = []
            self._joined[peer] = self._idle_since[peer] = self._now
            self._core.receive(peer, hello, self._now)

    def leave(self, name: str) -> None:
        """Let a host's workers leave."""
        for number in range(self._hosts[name].workers):
            peer = f"{name}/{number}".encode()
            self._core.receive(peer, Goodbye(), self._now)
            self._present_s += self._now - self._joined.pop(peer)
            self._idle_s += self._now - self._idle_since.pop(peer, self._now)
            del self._queues[peer]
        self._running = [each for each in self._running if each[2] in self._queues]
        heapq.heapify(self._running)

    @property
    def idle(self) -> float:
        """The part of the workers' time in which they had nothing to do."""
        idle_s = self._idle_s + sum(self._now - since for since in self._idle_since.values())
        return idle_s / (self._present_s + sum(self._now - since for since in self._joined.values()))

    def go_to(self, ordinal: int) -> None:
        """Run until all tasks before this one are done."""
        self._report()
        while self._low < ordinal:
            self._do(self._core.dispatch(self._now))
            self._now, _, peer, task = heapq.heappop(self._running)
            self._core.receive(peer, Finished(done=(Done(key=task.key, timings=Timings()),)), self._now)
            slots = self._geometry.slots(task.key.ordinal)
            self._arrived.setdefault(task.key.ordinal, set()).update(_offsets(task, slots))
            self._start(peer)
            self._report()

    def _report(self) -> None:
        """Tell the core what the sink misses."""
        whole = {n for n, offsets in self._arrived.items() if len(offsets) == len(self._geometry.slots(n))}
        while self._low in whole:
            del self._arrived[self._low]
            self._low += 1
        window = range(self._low, self._low + _WINDOW)
        missing = from_sorted(n for n in window if n not in whole)
        partial = tuple((n, tuple(sorted(self._arrived[n]))) for n in window if n in self._arrived and n not in whole)
        self._sequence += 1
        need = StreamNeed(stream="train", missing=missing, partial=partial)
        self._core.receive(_SINK, Progress(sequence=self._sequence, needs=(need,)), self._now)

    def _do(self, instructions: Iterable[Instruction]) -> None:
        for each in instructions:
            if isinstance(each, Send) and isinstance(each.message, Tasks):
                idle = not self._queues[each.peer]
                self._queues[each.peer] += each.message.tasks
                if idle:
                    self._start(each.peer, first=True)

    def _start(self, peer: bytes, *, first: bool = False) -> None:
        """Let a worker begin its next task."""
        queue = self._queues[peer]
        if not first:
            queue.pop(0)
        if not queue:
            self._idle_since[peer] = self._now
            return
        self._idle_s += self._now - self._idle_since.pop(peer, self._now)
        task, host = queue[0], self._hosts[peer.decode().rpartition("/")[0]]
        found = [host.take(item.item) for item in task.items]
        counts = self.hits.setdefault(task.epoch, [0, 0])
        counts[0] += sum(found)
        counts[1] += len(found)
        taken = sum(_HIT_S if hit else _MISS_S for hit in found) * host.slowness
        self._count += 1
        heapq.heappush(self._running, (self._now + taken, self._count, peer, task))


def _offsets(task: Task, slots: range) -> Iterable[int]:
    which = task.key.which
    return range(len(slots)) if which is None else which if isinstance(which, tuple) else (which,)


def rates(case: Case, items: int, epochs: int, *, keeps: bool) -> tuple[list[float], float]:
    """Return the fraction of images that were in the cache, by epoch, and the idle part of the workers' time."""
    plan = make_plan(items, keeps=keeps)
    run, tasks = Run(case, plan), plan.geometry.tasks_per_epoch
    for epoch in range(epochs):
        run.go_to(epoch * tasks + tasks // 2)
        for change in case.changes:
            if change.epoch == epoch:
                (run.join if change.joins else run.leave)(change.host)
        run.go_to((epoch + 1) * tasks)
    return [run.hits[epoch][0] / run.hits[epoch][1] for epoch in range(epochs)], run.idle


def cases(items: int) -> list[Case]:
    """Return the cases of the table."""

    def hosts(count: int, room: float = 1.0, workers: int = 4) -> tuple[Host, ...]:
        return tuple(Host(f"host-{number}", workers, int(items * room)) for number in range(count))

    back = (Change(1, "host-1", joins=False), Change(3, "host-1", joins=True))
    late = (Change(1, "host-4", joins=True),)
    return [
        Case("1 host", hosts(1)),
        Case("2 hosts", hosts(2)),
        Case("2 hosts, each with room for 60 %", hosts(2, 0.6)),
        Case("2 hosts, one half as fast", (*hosts(1), Host("slow", 4, items, slowness=2.0))),
        Case("2 hosts, one leaves in epoch 2, comes back in 4", hosts(2), changes=back),
        Case("5 hosts", hosts(5)),
        Case("5 hosts, each with room for 30 %", hosts(5, 0.3)),
        Case("5 hosts, the fifth joins in epoch 2", hosts(5), absent=frozenset({"host-4"}), changes=late),
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--blind", action="store_true", help="only the table without preference")
    given = parser.parse_args()
    for keeps in (False,) if given.blind else (True, False):
        title = "images found in the host's cache" + ("" if keeps else ", without preference")
        table = Table("case", *(f"epoch {n + 1}" for n in range(given.epochs)), "idle", title=title)
        for case in cases(given.items):
            found, idle = rates(case, given.items, given.epochs, keeps=keeps)
            table.add_row(case.name, *(f"{rate:.0%}" for rate in found), f"{idle:.1%}")
        Console(width=120).print(table)


if __name__ == "__main__":
    main()
