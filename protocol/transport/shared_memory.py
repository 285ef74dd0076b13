"""Memory that processes of one host share: which process may write into a segment when, and how peers find it.

Theory of operation. A *segment* is an anonymous file in memory (memfd) that its owner, a worker, writes samples into.
Peers open it through `/proc/PID/fd/N`, so nothing has a name that a crash could leave behind: the kernel frees a
segment with the last process that has it open. Its header holds a random token, by which a peer knows that it found
the right one, and two counters. The owner counts `generation` up whenever it takes the segment for new samples, and
does so only when the consumer, the sink, has set `released` to that number: when the last array over it is gone there.
Any other reader, such as a trainer for which the sink keeps the segment, copies first and then compares `generation`;
or it *holds* the segment first (`segments.py`), compares, and may use the samples where they lie: the owner then leaves
the segment alone, whatever the sink says, until the reader lets go.

A segment is used only after the consumer has released it once: so the owner knows that the consumer can open it, and
peers on other hosts, in other containers or under another user simply never release one and get bytes through the
socket.
"""

import resource
from collections.abc import Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy.typing as npt

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import Batch, Reference, Result
from penstock.protocol.transport.segments import RETIRED, Bytes, Loan, Segment, can_share, loan_of

#: Segments that a pool keeps free in addition to as many as are lent.
FREE_SEGMENTS = 4
#: Messages with fewer bytes than this carry them: a segment is not worth it.
LEAST_BYTES = 16_384


Array = npt.NDArray[Any]
_Sharing = TypeVar("_Sharing", Result, Batch)


def by_reference(message: _Sharing, arrays: Sequence[Array]) -> tuple[_Sharing, Sequence[Array]]:
    """Return the message with places in shared memory for the arrays that lie there, and the other arrays."""
    if sum(array.nbytes for array in arrays) < LEAST_BYTES:
        return message, arrays
    loans = [loan_of(array) for array in arrays]
    used = list(dict.fromkeys(loan for loan in loans if loan))
    if not used:
        return message, arrays
    places = tuple(
        (used.index(loan), array.__array_interface__["data"][0] - loan.segment.address) if loan else None
        for array, loan in zip(arrays, loans, strict=True)
    )
    memory = tuple(loan.segment.reference(loan.generation) for loan in used)
    kept = [array for array, loan in zip(arrays, loans, strict=True) if loan is None]
    return message.model_copy(update={"memory": memory, "places": places}), kept


class Attachments:
    """Other processes' segments, mapped here once each, as long as they are in use."""

    #: Number of uses after which segments that their owner has retired are unmapped.
    _SWEEP = 64

    def __init__(self, *, releases: bool, holds: bool = False, most: int = 65_536) -> None:
        """`releases`: this process is the consumer, whose arrays decide when a segment may be written to again.

        `holds`: it is a reader that may hold segments. At most `most` segments stay mapped, each of which costs this
        process a file descriptor (a consumer, and a reader that holds segments: two).
        """
        self._releases, self._holds, self._most = releases, holds, most
        #: By token: the segment, and how it was found; the one longest unused first.
        self._segments: dict[str, tuple[Segment, Reference]] = {}
        self._loans: WeakValueDictionary[str, Loan] = WeakValueDictionary()
        self._uses = 0

    @property
    def count(self) -> int:
        """How many segments are mapped."""
        return len(self._segments)

    @property
    def lent(self) -> int:
        """How many segments arrays lie in."""
        return len(self._loans)

    def lend(self, reference: Reference) -> Loan:
        """Return a loan of the segment that a peer refers to. Raises RemoteProtocolError("shared")."""
        try:
            segment = self._segment(reference)
        except (OSError, ValueError) as error:
            raise RemoteProtocolError("shared", f"shared memory cannot be reached: {error}") from None
        generation = reference.generation
        loan = self._loans.get(reference.token)
        if loan and loan.generation == generation:  # two loans of one generation would release it twice, once too early
            return loan
        if segment.generation != generation or (self._releases and segment.released == generation):
            raise RemoteProtocolError("stale", f"{segment} has been given back since generation {generation}")
        loan = self._loans[reference.token] = Loan(segment, generation, releases=self._releases)
        return loan

    def open(self, reference: Reference) -> Bytes:
        """Return the bytes of the segment that a peer refers to; arrays over them keep it."""
        return self.lend(reference).room()

    def accept(self, offers: Sequence[Reference]) -> None:
        """Open offered segments as far as that can be done, and release them: so their owner knows that it can."""
        for offer in offers:
            try:
                self.lend(offer)
            except RemoteProtocolError:
                return  # another host, container or user: its samples come through the socket

    def sweep(self) -> None:
        """Unmap what its owner has retired, and what belonged to processes that are gone; call it now and then.

        Arrays that are in use keep theirs until the last of them is gone.
        """
        there: dict[int, bool] = {}
        for token, (segment, found) in list(self._segments.items()):
            if found.pid not in there:
                there[found.pid] = segment.is_at(found)
            if segment.generation == RETIRED or not there[found.pid]:
                del self._segments[token]

    def _segment(self, reference: Reference) -> Segment:
        self._uses += 1
        if self._uses % self._SWEEP == 0:
            self._drop_retired()
        known = self._segments.pop(reference.token, None)
        if known and known[0].forked:  # a forked process shares its lock: this one gets another
            known = None
        if known is None and len(self._segments) >= self._most:
            del self._segments[next(iter(self._segments))]
        segment = known[0] if known else self._attach(reference)
        self._segments[reference.token] = (segment, known[1] if known else reference)
        return segment

    def _attach(self, reference: Reference) -> Segment:
        return Segment.attach(reference, writable=self._releases, holds=self._holds)

    def _drop_retired(self) -> None:
        for token, (segment, _) in list(self._segments.items()):
            if segment.generation == RETIRED:
                del self._segments[token]


def most_segments() -> int:
    """Return how many segments a sink may map: each takes two of its descriptors, and connections need some too."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(65_536, max(FREE_SEGMENTS, limit // 4))


class Pool:
    """A worker's own segments. For one thread."""

    #: Segments that are offered at first; later ones one by one, as all are in use.
    _FIRST = 4
    #: Results without an answer to an offer, and seconds, after which the sink counts as unable to open our memory.
    _PATIENCE, _PATIENCE_S = 8, 5.0
    #: Seconds after which it is tried again: the sink may have been busy, or out of descriptors.
    _RETRY_S = 60.0
    #: Takes after which segments that were free all the time are given up.
    _PERIOD = 32
    #: Most segments: each takes two file descriptors here and two in the sink.
    _MOST = 128
    #: Seconds after which a lent segment is given up: its message was lost, or the sink keeps it for a trainer that
    #: stands still; either way the sink, if it has it, keeps its own hold on it.
    _LOST_S = 600.0

    def __init__(self, limit_bytes: int) -> None:
        """Make no more segments than fit `limit_bytes`."""
        self._limit_bytes = limit_bytes
        self._segments: list[Segment] = []
        #: When those that are lent were taken (s); forgotten with them.
        self._taken: WeakKeyDictionary[Segment, float] = WeakKeyDictionary()
        #: Made, and not seen by the sink yet; and whether they are part of the next result.
        self._offered: list[Segment] = []
        self._tell = False
        self._waited, self._since, self._retry_at = 0, 0.0, 0.0
        self._takes, self._least_free = 0, 0

    @property
    def count(self) -> int:
        """How many segments the sink has seen."""
        return len(self._segments)

    def take(self, size: int, now: float) -> Loan | None:
        """Return room for `size` bytes, or None where they must travel through the socket."""
        if size < LEAST_BYTES:
            return None
        self._look_at_offers(now)
        free = [segment for segment in self._segments if segment.idle]
        for segment in free:
            self._taken.pop(segment, None)
        self._segments = [segment for segment in self._segments if now - self._taken.get(segment, now) < self._LOST_S]
        self._trim(free)
        fitting = next((segment for segment in free if segment.capacity >= size and segment.take()), None)
        if fitting is None:
            self._offer(size, now)
            return None
        self._taken[fitting] = now
        if len(free) == 1:  # the last one: the next is offered along with it, so that no result has to go as bytes
            self._offer(size, now)
        return Loan(fitting, fitting.generation, releases=False)

    def offers(self) -> tuple[Reference, ...]:
        """Return the segments to offer with the next result."""
        if not self._tell:
            return ()
        self._tell = False
        return tuple(segment.reference(segment.generation) for segment in self._offered)

    def _look_at_offers(self, now: float) -> None:
        seen = [segment for segment in self._offered if segment.released == segment.generation]
        if seen:
            self._segments += seen
            self._offered = [segment for segment in self._offered if segment not in seen]
            self._waited, self._since = 0, now
        elif self._offered:
            self._waited += 1
            if self._waited > self._PATIENCE and now - self._since > self._PATIENCE_S:
                self._offered, self._retry_at = [], now + self._RETRY_S

    def _offer(self, size: int, now: float) -> None:
        if self._offered or now < self._retry_at or not can_share():
            return
        if len(self._segments) + self._FIRST > self._MOST:
            return
        for _ in range(1 if self._segments else self._FIRST):
            if sum(segment.capacity for segment in (*self._segments, *self._offered)) + size > self._limit_bytes:
                break
            try:
                segment = Segment.create(size)
            except OSError:  # no descriptors or memory left: samples go through the socket
                self._retry_at = now + self._RETRY_S
                break
            segment.generation = 1
            self._offered.append(segment)
        self._tell, self._waited, self._since = bool(self._offered), 0, now

    def _trim(self, free: list[Segment]) -> None:
        """Give up what was free all the time for a while.

        Nothing is given up before: a trainer lets go of many segments at once, which are needed again soon, and fresh
        memory costs more than the samples in it.
        """
        self._least_free = min(self._least_free, len(free))
        self._takes += 1
        if self._takes % self._PERIOD:
            return
        surplus, self._least_free = self._least_free - 1, len(free)
        for segment in free[len(free) - max(0, surplus) :]:
            if not segment.take():  # a trainer holds it
                continue
            segment.generation = RETIRED
            self._segments.remove(segment)
            free.remove(segment)

    def close(self) -> None:
        """Give all segments up; what peers have open stays until they are done with it."""
        for segment in (*self._segments, *self._offered):
            if segment.released == segment.generation:
                segment.generation = RETIRED
        self._segments, self._offered = [], []
