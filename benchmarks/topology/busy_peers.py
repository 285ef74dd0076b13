"""Peers of a ventilator that cost little themselves: a thousand workers and many sinks in one process.

Each has a connection and an identity of its own, and says what its service would say; but no ZeroMQ socket, of which a
thousand take longer to wait for than the ventilator takes to answer them. Workers finish at once what they get, and say
so (the ventilator rests while tasks take long): all of it in one message, or each task in one of its own. Sinks report
what has changed every 10 ms, as real ones do (`sink/report_pace.py`), and all once a second. One alone lists what
is missing. Of several, each lists what it does not know the outcome of, what it lacks, and what came, and then waits up
to 100 ms for the answer; `eager` ones report every 10 ms, changed or not. A batch goes to one sink after the other, and
the window moves on when the slowest sink has its batch. Who is told that it is not known says hello again, under a
fresh identity.
"""

import selectors
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from topology.zmtp_link import KIND, Link

from penstock.protocol.messages import (
    Destination,
    Heartbeat,
    Hello,
    Made,
    Outcomes,
    Progress,
    SinkHello,
    StreamNeed,
    TaskKey,
    WorkerStats,
)
from penstock.protocol.version import __version__

#: Tasks that the readers of all sinks together want at once, and samples in a batch: those of a task here.
WINDOW, BATCH = 16_384, 64
#: When a sink reports: at the earliest and at the latest after its last report (s).
_REPORT_S, _LATEST_S = 0.01, 0.1
_BEAT_S, _DEADLINE_S = 1.0, 60.0
Bools = npt.NDArray[np.bool_]


class _Key(msgspec.Struct, gc=False):
    ordinal: int


class _Task(msgspec.Struct, gc=False):
    key: _Key
    destinations: tuple[Destination, ...] = ()


class _Tasks(msgspec.Struct, gc=False):
    tasks: list[_Task]


@dataclass
class _Sink:
    link: Link
    hello: SinkHello
    #: Of each task in the window, whether its samples are here, and whether its outcome is known here.
    here: Bools
    known: Bools
    sequence: int = 0
    #: When it reported last, and whether it waits for an answer to that.
    reported: float = 0.0
    waits: bool = False
    #: What it reported last; nothing once it is time to repeat that.
    need: StreamNeed | None = None


class BusyPeers:
    """Workers and sinks of one ventilator, for tasks of one item and one sample each."""

    def __init__(  # noqa: PLR0913 - what a topology is made of
        self,
        path: str,
        stream: str,
        *,
        workers: int,
        slots: int,
        sinks: int,
        together: bool,
        eager: bool = False,
        near: bool = False,
    ) -> None:
        """Connect all of them and wait until all are welcome. `together`: a worker finishes all its tasks at once."""
        self._path, self._stream, self._slots, self._together, self._eager = path, stream, slots, together, eager
        self._selector = selectors.DefaultSelector()
        self._tasks = msgspec.json.Decoder(_Tasks)
        self._outcomes = msgspec.json.Decoder(Outcomes)
        #: The first task of the window: all before it have come, to all sinks.
        self.base = 0
        #: Tasks that workers have finished; at most a window of them has not come to all sinks.
        self.finished = 0
        #: How often a peer had to say hello again.
        self.greeted_again = 0
        names = [f"sink-{n}" for n in range(sinks)] if sinks > 1 else [""]
        self._sinks = {
            name: _Sink(
                Link(path, b"sink" + name.encode()),
                SinkHello(
                    incarnation=name + "i",
                    name=name,
                    results=f"ipc:///nowhere{name}",
                    host=f"host{number}" if near else "",
                    version=__version__,
                ),
                np.zeros(WINDOW, np.bool_),
                np.zeros(WINDOW, np.bool_),
            )
            for number, name in enumerate(names)
        }
        self._workers = [Link(path, b"worker%d" % n) for n in range(workers)]
        self._hellos = [
            Hello(worker=f"host/{n}", incarnation=f"w{n}", host=f"host{n % sinks}", slots=slots, version=__version__)
            for n in range(workers)
        ]
        self._held: list[tuple[TaskKey, ...]] = [()] * workers
        for sink in self._sinks.values():
            sink.link.send(sink.hello)
            self._selector.register(sink.link.socket, selectors.EVENT_READ, sink)
        for number, link in enumerate(self._workers):
            link.send(self._hellos[number])
            self._selector.register(link.socket, selectors.EVENT_READ, number)
        welcome, deadline = set[Any](), time.monotonic() + _DEADLINE_S
        while len(welcome) < workers + sinks and time.monotonic() < deadline:
            for key, _ in self._selector.select(1.0):
                link = key.data.link if isinstance(key.data, _Sink) else self._workers[key.data]
                welcome.update(link.identity for kind, _ in link.receive() if kind.endswith(b"Welcome"))
        if len(welcome) < workers + sinks:
            raise TimeoutError(f"the ventilator has welcomed {len(welcome)} of {workers + sinks} peers")

    def run(self, seconds: float, tasks: int = 2**62) -> int:
        """Work for so long, or until so many tasks more are finished; return how many were."""
        began = moved = beaten = time.perf_counter()
        before = self.finished
        while (now := time.perf_counter()) < began + seconds and self.finished < before + tasks:
            for key, _ in self._selector.select(0.002):
                if isinstance(key.data, _Sink):
                    self._hear(key.data)
                else:
                    self._work(key.data)
            if now - moved > _REPORT_S:
                moved = now
                self._move()
                for number, sink in enumerate(self._sinks.values()):
                    self._report(number, sink, now)
            if now - beaten > _BEAT_S:
                beaten = now
                self._beat()
        return self.finished - before

    def close(self) -> None:
        """Hang up."""
        for link in (*self._workers, *(sink.link for sink in self._sinks.values())):
            link.socket.close()

    def _work(self, number: int) -> None:
        link = self._workers[number]
        for kind, header in link.receive():
            if kind == b"Reset":
                self._workers[number] = self._link_again(link, self._hellos[number], number)
                return
            if kind != b"Tasks":
                continue
            done: list[bytes] = []
            for task in self._tasks.decode(header).tasks:
                ordinal = task.key.ordinal
                for name in [each.sink for each in task.destinations] or [""]:
                    place = ordinal - self.base
                    if 0 <= place < WINDOW:
                        self._sinks[name].here[place] = True
                done.append(
                    b'{"key":{"stream":"%s","ordinal":%d},"timings":{"read_s":0.000001,'
                    b'"decode_s":0.000001,"transform_s":0.000001,"send_s":0.000001}}' % (self._stream.encode(), ordinal)
                )
            self.finished += len(done)
            for part in [done] if self._together else [[each] for each in done]:
                link.send_raw(KIND + b"Finished", b'{"done":[%s]}' % b",".join(part))

    def _hear(self, sink: _Sink) -> None:
        for kind, header in sink.link.receive():
            if kind == b"Outcomes":
                outcomes = self._outcomes.decode(header)
                sink.waits &= outcomes.heard < sink.sequence
                for start, stop in outcomes.settled:
                    low, high = max(0, start - self.base), max(0, stop - self.base)
                    sink.known[low:high] = True
            elif kind == b"Reset":
                sink.link, sink.need, sink.waits = self._link_again(sink.link, sink.hello, sink), None, False
                return

    def _link_again(self, link: Link, hello: Hello | SinkHello, peer: "_Sink | int") -> Link:
        """Open a peer's link anew, under another identity, and say hello."""
        self.greeted_again += 1
        self._selector.unregister(link.socket)
        link.socket.close()
        fresh = Link(self._path, link.identity.partition(b"/")[0] + b"/%d" % self.greeted_again)
        self._selector.register(fresh.socket, selectors.EVENT_READ, peer)
        fresh.send(hello)
        return fresh

    def _move(self) -> None:
        """Move the window on to the first task that has not come to all sinks."""
        sinks, places = list(self._sinks.values()), np.arange(self.base, self.base + WINDOW)
        complete = [
            sink.here if len(sinks) == 1 else sink.known & (sink.here | (places // BATCH % len(sinks) != n))
            for n, sink in enumerate(sinks)
        ]
        through = np.logical_and.reduce(complete)
        count = WINDOW if through.all() else int(np.argmin(through))
        if count:
            self.base += count
            for sink in sinks:
                for mask in (sink.here, sink.known):
                    mask[: -count or WINDOW] = mask[count:].copy()
                    mask[WINDOW - count :] = False

    def _report(self, number: int, sink: _Sink, now: float) -> None:
        """Report what a sink needs, if it is time to."""
        if sink.waits and not self._eager and now < sink.reported + _LATEST_S:
            return
        before, sink.reported = sink.need, now
        if len(self._sinks) == 1:
            need = StreamNeed(self._stream, _ranges(~sink.here, self.base))
        else:
            own = np.arange(self.base, self.base + WINDOW) // BATCH % len(self._sinks) == number
            came = np.flatnonzero(sink.here & ~sink.known) + self.base
            need = StreamNeed(
                self._stream,
                _ranges(~sink.known, self.base),
                lacks=_ranges(own & ~sink.here, self.base),
                made=tuple(Made(ordinal=ordinal, issuer="issuer", holder=1) for ordinal in came.tolist()),
            )
        if need == before and not self._eager:
            return
        sink.need, sink.waits = need, bool(need.made)
        sink.sequence += 1
        sink.link.send(Progress(sink.sequence, (need,)))

    def _beat(self) -> None:
        known = tuple(sink.hello.incarnation for sink in self._sinks.values())
        for link, held in zip(self._workers, self._held, strict=True):
            link.send(Heartbeat(running=held, sinks=known, worker_stats=WorkerStats()))
        for sink in self._sinks.values():
            sink.link.send(Heartbeat())
            sink.need = None


def _ranges(mask: Bools, base: int) -> tuple[tuple[int, int], ...]:
    padded = np.zeros(len(mask) + 2, np.bool_)
    padded[1:-1] = mask
    edges = np.flatnonzero(padded[1:] != padded[:-1]) + base
    return tuple(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
