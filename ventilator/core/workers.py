"""The ventilator's workers, their leases and their free slots.

Part of the leases core: no socket, no clock. Units of work are known here by name only; `stream_queue.py` has the rest.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from penstock.protocol.heartbeat import Liveness
from penstock.protocol.messages import Hello, TaskKey, WorkerStats
from penstock.ventilator.core.observation import WorkerObservation

#: Workers that are remembered after they went, and numbers of workers, while there are not more.
_LEFT, _REMEMBERED = 64, 4096
_NOBODY: frozenset[bytes] = frozenset()


@dataclass(slots=True)
class Worker:
    """One worker as the ventilator knows it."""

    hello: Hello
    live: Liveness
    #: Its number, which its leases bear; it keeps it when it connects again.
    number: int = 0
    #: Its leases, with their start, oldest first: it runs the first.
    held: dict[TaskKey, float] = field(default_factory=dict)
    #: The leases that its last heartbeat listed.
    acknowledged: AbstractSet[TaskKey] = frozenset()
    #: Its last statistics, and when they came.
    stats: WorkerStats | None = None
    stats_at: float = 0.0
    #: When it began the task that it runs: at its last finish, or at its first lease after being idle.
    busy_since: float = 0.0
    #: Holds up the stream: gets nothing new until it finishes something.
    stalled: bool = False
    #: Has missed a heartbeat or two: gets nothing new until it is heard again.
    quiet: bool = False
    #: Why its results do not reach the sink, in its own words; empty if they do. It gets nothing new while they do not.
    blocked: str = ""
    #: When the sink was last seen to have one of its results, and when the newest of these was sent.
    arrived_at: float = 0.0
    arrived_up_to: float = 0.0
    #: How often its results did not arrive since one did; until when it gets nothing new for that, and whether so now.
    misses: int = 0
    benched_until: float = 0.0
    benched: bool = False
    #: Gets suspected work only, one piece at a time.
    reserved: bool = False
    #: How many tasks it may hold, as of when that was last considered; 0 while it gets nothing new.
    room: int = 0

    @property
    def able(self) -> bool:
        """Whether it may get anything now."""
        return not (self.stalled or self.quiet or self.blocked or self.benched)

    @property
    def most(self) -> int:
        """Tasks that it may hold now, of those that are not suspected."""
        if self.reserved or not self.able:
            return 0
        return 1 if self.misses else self.hello.slots

    @property
    def free(self) -> int:
        """How many more tasks it may get now."""
        return max(0, self.most - len(self.held))

    @property
    def running(self) -> TaskKey | None:
        """The task that it ran when it was last heard: its oldest lease.

        If its last report was lost, that task is done already and the charge does no harm; guessing the next one would
        charge the innocent.
        """
        return next(iter(self.held), None)

    def observe(self, peer: bytes) -> WorkerObservation:
        """Return its state as a record."""
        return WorkerObservation(
            peer=peer,
            name=self.hello.worker,
            host=self.hello.host,
            slots=self.hello.slots,
            leases=len(self.held),
            busy_since=self.busy_since,
            heard_at=self.live.heard_at,
            stalled=self.stalled,
            blocked=self.blocked,
            stats=self.stats,
            stats_at=self.stats_at,
        )


class Workers(Mapping[bytes, Worker]):
    """All workers, by the routing identity of their link."""

    def __init__(self) -> None:
        """Start without workers."""
        self._by_peer: dict[bytes, Worker] = {}
        #: Peers that have a free slot, in the order in which they are served. The first of a plain dictionary takes
        #: the longer to find, the more were removed before it.
        self._free: OrderedDict[bytes, None] = OrderedDict()
        #: Which workers hold a unit of work; outlives the work itself.
        self._holders: dict[TaskKey, set[bytes]] = {}
        #: Workers that were reserved and not released.
        self.reserved = 0
        #: Numbers of the workers that went last, and when (monotonic s).
        self.left: deque[tuple[int, float]] = deque(maxlen=_LEFT)
        #: Grows when a worker comes or goes.
        self.version = 0
        #: The number of each start of a worker's process, those that said hello last at the end.
        self._numbers: dict[str, int] = {}
        self._numbered = 0

    @property
    def free(self) -> bool:
        """Whether a worker has a free slot."""
        return bool(self._free)

    def add(self, peer: bytes, hello: Hello, live: Liveness) -> None:
        """Add a worker."""
        number = self._numbers.pop(hello.incarnation, None)
        if number is None:
            self._numbered += 1
            number = self._numbered
        self._numbers[hello.incarnation] = number
        if len(self._numbers) > max(_REMEMBERED, 2 * len(self._by_peer)):
            del self._numbers[next(iter(self._numbers))]
        self._by_peer[peer] = Worker(hello, live, number)
        self.version += 1
        self.offer(peer)

    def remove(self, peer: bytes, now: float) -> Worker:
        """Forget a worker and end its leases; return it as it was."""
        worker = self._by_peer.pop(peer)
        self.left.append((worker.number, now))
        self.version += 1
        self._free.pop(peer, None)
        self.reserved -= worker.reserved
        for key in worker.held:
            self._let_go(peer, key)
        return worker

    def reserve(self, peer: bytes) -> None:
        """Lease a worker nothing but suspected work from now on."""
        self._by_peer[peer].reserved = True
        self.reserved += 1
        self.offer(peer)

    def release(self, peer: bytes) -> None:
        """Lease a worker any work again."""
        self._by_peer[peer].reserved = False
        self.reserved -= 1
        self.offer(peer)

    def offer(self, peer: bytes) -> None:
        """Consider what a worker may get, after a change: it stands in line as long as it has a free slot."""
        worker = self._by_peer.get(peer)
        if worker is None:
            self._free.pop(peer, None)
            return
        worker.room = worker.most
        if worker.room > len(worker.held):
            self._free[peer] = None
        else:
            self._free.pop(peer, None)

    def holders(self, key: TaskKey) -> AbstractSet[bytes]:
        """Return the workers that hold a unit of work."""
        return self._holders.get(key, _NOBODY)

    def is_held(self, key: TaskKey) -> bool:
        """Return whether a worker holds a unit of work."""
        return key in self._holders

    def waiting(self) -> list[bytes]:
        """Return the workers with a free slot, in the order in which they are served."""
        return list(self._free)

    def hosts(self) -> Counter[str]:
        """Return how many workers each host has."""
        return Counter(worker.hello.host for worker in self._by_peer.values())

    def lease(
        self, key: TaskKey, now: float, avoided: Collection[int] = (), host: str = "", wanted: bytes = b""
    ) -> bytes | None:
        """Lease a unit of work to the next worker with a free slot that does not hold it yet; return that worker.

        Workers with the numbers `avoided` do not get it. One on `host` comes first, if that is given, then `wanted`.
        """
        holders = self._holders.get(key)
        if not (holders or avoided or wanted):  # nearly always
            peer = next(iter(self._free), None)
        else:
            peer = self._choose(holders or _NOBODY, avoided, host, wanted)
        if peer is not None:
            self.give(peer, key, now)
        return peer

    def _choose(self, holders: AbstractSet[bytes], avoided: Collection[int], host: str, wanted: bytes) -> bytes | None:
        free = (peer for peer in self._free if peer not in holders and self._by_peer[peer].number not in avoided)
        if not wanted:
            return next(free, None)
        able = list(free)
        at_home = (peer for peer in able if self._by_peer[peer].hello.host == host)
        return next(at_home, wanted if wanted in able else able[0] if able else None)

    def give(self, peer: bytes, key: TaskKey, now: float) -> None:
        """Lease a unit of work to this worker, which goes to the end of the line."""
        worker = self._by_peer[peer]
        held = worker.held
        if not held:
            worker.busy_since = now
        held[key] = now
        holders = self._holders.get(key)
        if holders is None:
            self._holders[key] = {peer}
        else:
            holders.add(peer)
        if worker.room <= len(held):
            self._free.pop(peer, None)
        elif peer in self._free:
            self._free.move_to_end(peer)

    def end(self, peer: bytes, key: TaskKey, now: float) -> float | None:
        """End a lease; return since when it was held, or None if it was not. The worker goes on with its next."""
        worker = self._by_peer[peer]
        leased_at = worker.held.pop(key, None)
        if leased_at is not None:
            self._let_go(peer, key)
            worker.busy_since = now
            if worker.stalled:
                worker.stalled = False
                self.offer(peer)
            elif worker.room > len(worker.held) and peer not in self._free:
                self._free[peer] = None
        return leased_at

    def incarnations(self, incarnation: str) -> list[bytes]:
        """Return the identities under which one start of a worker's process is known."""
        return [peer for peer, worker in self._by_peer.items() if worker.hello.incarnation == incarnation]

    def get(self, peer: bytes, default: Worker | None = None) -> Worker | None:  # type: ignore[override]
        """Return a worker, or `default`; called for every message, so it does not go through an exception."""
        return self._by_peer.get(peer, default)

    def __getitem__(self, peer: bytes) -> Worker:
        """Return a worker. Raises KeyError."""
        return self._by_peer[peer]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the peers, in the order in which they joined."""
        return iter(self._by_peer)

    def __len__(self) -> int:
        """Return how many workers there are."""
        return len(self._by_peer)

    def pairs(self) -> list[tuple[bytes, Worker]]:
        """Return all peers and workers, as a copy: workers may be removed during a loop over it."""
        return list(self._by_peer.items())

    def _let_go(self, peer: bytes, key: TaskKey) -> None:
        holders = self._holders[key]
        if len(holders) > 1:
            holders.discard(peer)
        else:
            del self._holders[key]

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        held = {(peer, key) for peer, worker in self._by_peer.items() for key in worker.held}
        assert held == {(peer, key) for key, peers in self._holders.items() for peer in peers}  # noqa: S101
        assert self.reserved == sum(worker.reserved for worker in self._by_peer.values())  # noqa: S101
        assert all(len(worker.held) <= worker.hello.slots for worker in self._by_peer.values())  # noqa: S101
        assert all(worker.room == worker.most for worker in self._by_peer.values())  # noqa: S101
        assert set(self._free) == {peer for peer, worker in self._by_peer.items() if worker.free}  # noqa: S101
