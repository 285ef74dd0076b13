"""The worker's links to its sinks: for each sink one PUSH socket, and the memory that is shared with it.

A result goes to the only sink, or, where a task names several destinations, to each of them with the rows that it gets.
Memory is lent to one sink at a time, since only that sink says when it is done with it; so the rows of several sinks
are copied into memory of each. Belongs to the thread that makes samples.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.protocol import wire
from penstock.protocol.messages import Result, SinkAddress, Task
from penstock.protocol.order import Int64s
from penstock.protocol.outcomes.shares import positions_of, rows_in
from penstock.protocol.plan import StreamPlan
from penstock.protocol.transport.segments import Loan
from penstock.protocol.transport.shared_memory import LEAST_BYTES, Pool, by_reference
from penstock.protocol.transport.sockets import Endpoint, Hub
from penstock.protocol.wire import Array

#: Fields of a result begin at multiples of this (bytes) in shared memory.
_ALIGNED = 64
#: Seconds without a connection after which another address of the sink's host is tried, if it has several.
_NEXT_S = 10.0


@dataclass(frozen=True, slots=True)
class Cut:
    """A result waits for a sink to which there is no connection."""

    sink: SinkAddress
    #: Since when (monotonic s).
    since: float


class SinkLink:
    """One sink."""

    def __init__(self, hub: Hub, sink: SinkAddress, shared_bytes: int) -> None:
        """Share at most `shared_bytes`; connect once there is something to send."""
        self._hub, self.sink, self.shared_bytes = hub, sink, shared_bytes
        self._pusher: Endpoint | None = None
        self._pool = Pool(shared_bytes)
        self._lent_to = sink.incarnation
        #: Since when what is sent has waited without a connection (monotonic s); a slow connection counts as one.
        self.cut_since: float | None = None
        #: When another address was tried (monotonic s).
        self._tried_at = 0.0

    def __repr__(self) -> str:
        """Show the sink."""
        return f"<SinkLink {self.sink.name!r} at {self.sink.results}>"

    def lend_anew(self) -> None:
        """Take back what was lent to the sink's predecessor, which is gone: its successor does not know of it."""
        if self.sink.incarnation and self._lent_to != self.sink.incarnation:
            self._pool.close()
            self._pool, self._lent_to = Pool(self.shared_bytes), self.sink.incarnation

    def take(self, size: int) -> Loan | None:
        """Return room for `size` bytes that the sink can read, or None."""
        return self._pool.take(size, time.monotonic())

    def lend(self, arrays: Sequence[Array], room_bytes: int) -> tuple[list[Array], Loan | None]:
        """Return the arrays in memory that the sink can read, if there is any: their loan says so."""
        loan = self.take(room_bytes) if sum(array.nbytes for array in arrays) >= LEAST_BYTES else None
        if loan is None:
            return list(arrays), None
        room, start, lent = loan.room(), 0, []
        for array in arrays:
            place = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
            place[...] = array
            lent.append(place)
            start += -(-array.nbytes // _ALIGNED) * _ALIGNED
        return lent, loan

    def message(self, result: Result, arrays: Sequence[Array], loan: Loan | None) -> tuple[Result, Sequence[Array]]:
        """Return what to push: arrays in a segment by reference, and offers of further segments."""
        if offers := self._pool.offers():
            result = result.model_copy(update={"offers": offers})
        result, kept = by_reference(result, arrays)
        if loan and len(kept) == len(arrays):  # few samples survived: they travel in the message
            kept = [array.copy() for array in kept]
            loan.give_back()
        return result, kept

    def push(self, result: Result, arrays: Sequence[Array], wait_s: float) -> bool:
        """Push a result; return False if the sink had no room for it within `wait_s`, and `cut_since` says why."""
        if self._pusher is None:
            self._pusher = self._hub.pusher(self.sink.results, "sink")
        elif self._pusher.given != self.sink.results:
            self._pusher.reopen(self.sink.results)
        if self._pusher.push(result, arrays, wait_s):
            self.cut_since = None
            return True
        now = time.monotonic()
        self.cut_since = None if self._pusher.linked else self.cut_since or now
        if self.cut_since is not None and now >= max(self.cut_since, self._tried_at) + _NEXT_S:
            self._tried_at = now
            self._pusher.try_next()
        return False

    def close(self, linger_s: float = 0.0) -> None:
        """Close the socket, and give the memory up: what the sink has open stays until it is done with it."""
        self._pool.close()
        if self._pusher:
            self._pusher.close(linger_s)
            self._pusher = None


@dataclass(slots=True)
class Delivery:
    """What one sink gets of a unit of work."""

    #: The sink's name; empty: the only sink.
    sink: str
    result: Result
    arrays: Sequence[Array]
    #: The rows of the unit's samples that it gets.
    rows: Int64s


class SinkLinks:
    """The links by the sinks' names; the only sink's name is empty."""

    def __init__(self, hub: Hub) -> None:
        """Begin without a sink."""
        self._hub = hub
        self._links: dict[str, SinkLink] = {}

    def follow(self, sinks: Iterable[SinkAddress], shared_bytes: int) -> None:
        """Use these sinks from now on: links to others are closed, a sink at another address is connected anew."""
        there = {sink.name: sink for sink in sinks}
        for name in self._links.keys() - there.keys():
            self._links.pop(name).close()
        for name, sink in there.items():
            if name in self._links:
                self._links[name].sink, self._links[name].shared_bytes = sink, shared_bytes
            else:
                self._links[name] = SinkLink(self._hub, sink, shared_bytes)

    def lend_anew(self) -> None:
        """Between two units of work: take back what was lent to sinks that were replaced."""
        for link in self._links.values():
            link.lend_anew()

    @property
    def is_empty(self) -> bool:
        """Whether no sink has said hello."""
        return not self._links

    def room(self, task: Task, plan: StreamPlan, room_bytes: int) -> Loan | None:
        """Return memory to make the task's samples in, if one sink gets them all."""
        name = _only_taker(task, plan)
        link = self._links.get(name) if name is not None else None
        return link.take(room_bytes) if link else None

    def deliveries(
        self, task: Task, plan: StreamPlan, result: Result, arrays: Sequence[Array], loan: Loan | None
    ) -> list[Delivery]:
        """Return what each sink gets of a unit of work; `loan` is the memory that all of its samples lie in, if any.

        A destination that is gone gets nothing: what its successor lacks is leased again.
        """
        if not task.destinations:
            link, rows = self._links.get(""), np.arange(len(arrays[0]) if arrays else 0)
            message = link.message(result, arrays, loan) if link else (result, arrays)
            return [Delivery("", *message, rows)]
        positions = positions_of(plan, task.key, {failure.offset for failure in result.failures})
        deliveries = []
        room_bytes = sum(-(-array.nbytes // _ALIGNED) * _ALIGNED for array in arrays)
        for destination in task.destinations:
            if (link := self._links.get(destination.sink)) is None:
                continue
            rows = rows_in(positions, destination.positions)
            share = picked(arrays, rows) if len(rows) else []
            lent = loan if len(rows) == len(positions) else None
            if lent is None and share:
                share, lent = link.lend(share, room_bytes)
            shared = result.model_copy(
                update={"shares": destination.positions, "frames": wire.frames_of(plan.schema, share) if share else ()}
            )
            deliveries.append(Delivery(destination.sink, *link.message(shared, share, lent), rows))
        return deliveries

    def push(self, deliveries: list[Delivery], wait_s: float) -> list[Delivery]:
        """Push what the sinks have room for within about `wait_s`, and take it off the list; return what was pushed.

        What is for sinks that are gone is dropped. A sink that is slow keeps nothing from the others.
        """
        pushed: list[Delivery] = []
        for patience_s in (0.0, wait_s) if len(deliveries) > 1 else (wait_s,):
            each_s = patience_s / max(1, len(deliveries))
            for delivery in list(deliveries):
                link = self._links.get(delivery.sink)
                if link is None:
                    deliveries.remove(delivery)
                elif link.push(delivery.result, delivery.arrays, each_s):
                    deliveries.remove(delivery)
                    pushed.append(delivery)
        return pushed

    def cut(self, deliveries: Iterable[Delivery]) -> Cut | None:
        """Return the sink that a delivery has waited for longest without a connection; None if none does."""
        links = (self._links.get(delivery.sink) for delivery in deliveries)
        waiting = [Cut(link.sink, link.cut_since) for link in links if link and link.cut_since is not None]
        return min(waiting, key=lambda each: each.since, default=None)

    def close(self, linger_s: float) -> None:
        """Close all; what was pushed may take so long to leave."""
        for link in self._links.values():
            link.close(linger_s)


def count_samples(deliveries: Iterable[Delivery]) -> int:
    """Return how many of a unit's samples are in some of its deliveries; one that is in several counts once."""
    rows = [each.rows for each in deliveries]
    return len(np.unique(np.concatenate(rows))) if len(rows) > 1 else sum(map(len, rows))


def _only_taker(task: Task, plan: StreamPlan) -> str | None:
    """Return the name of the sink that gets every sample of the task; None if none does, or not all of them."""
    if not task.destinations:
        return ""
    takers = [destination for destination in task.destinations if destination.positions]
    if len(takers) != 1:
        return None
    positions = positions_of(plan, task.key)
    return takers[0].sink if len(rows_in(positions, takers[0].positions)) == len(positions) else None


def picked(arrays: Sequence[Array], rows: Int64s) -> list[Array]:
    """Return these rows of each field, without a copy where they follow each other. There is one row at least."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return [array[first : last + 1] for array in arrays]
    return [array[rows] for array in arrays]
