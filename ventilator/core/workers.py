"""The ventilator's workers, their leases and their free slots.

Part of the leases core: no socket, no clock. Units of work are known here by name only; `stream_queue.py` has the rest.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, ItemsView, Iterator, Mapping, ValuesView

from penstock.protocol.heartbeat import Liveness
from penstock.protocol.messages import Hello, TaskKey
from penstock.ventilator.core.hosts.lines import HostLines
from penstock.ventilator.core.worker import Worker

#: Workers that are remembered after they went, and numbers of workers, while there are not more.
_LEFT, _REMEMBERED = 64, 4096


class Workers(Mapping[bytes, Worker]):
    """All workers, by the routing identity of their link."""

    def __init__(self) -> None:
        """Start without workers."""
        self._by_peer: dict[bytes, Worker] = {}
        #: Peers that have a free slot, in the order in which they are served. The first of a plain dictionary takes
        #: the longer to find, the more were removed before it.
        self._free: OrderedDict[bytes, None] = OrderedDict()
        #: The same by host; None while it does not matter.
        self._lines: HostLines | None = None
        #: Which workers hold a unit of work, nearly always one; outlives the work itself.
        self._holders: dict[TaskKey, tuple[bytes, ...]] = {}
        #: Workers that were reserved and not released.
        self.reserved = 0
        #: Numbers of the workers that went last, and when (monotonic s).
        self.left: deque[tuple[int, float]] = deque(maxlen=_LEFT)
        #: Grows when a worker comes or goes.
        self.version = 0
        #: The number of each start of a worker's process, those that said hello last at the end.
        self._numbers: dict[str, int] = {}
        self._numbered = 0
        #: Whether workers with several slots may hold twice as many tasks.
        self._doubled = False

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
        self._by_peer[peer] = Worker(hello, live, number, doubled=self._doubled and hello.slots > 1)
        self.version += 1
        self.offer(peer)

    def remove(self, peer: bytes, now: float) -> Worker:
        """Forget a worker and end its leases; return it as it was."""
        worker = self._by_peer.pop(peer)
        self.left.append((worker.number, now))
        self.version += 1
        self._step_out(peer, worker)
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

    def double(self, *, doubled: bool) -> None:
        """Let workers hold twice as many tasks as they have slots, or no more than that; one slot stays one."""
        if doubled == self._doubled:
            return
        self._doubled = doubled
        for peer, worker in self._by_peer.items():
            worker.doubled = doubled and worker.hello.slots > 1
            self.offer(peer)

    def offer(self, peer: bytes) -> None:
        """Consider what a worker may get, after a change: it stands in line as long as it has a free slot."""
        worker = self._by_peer.get(peer)
        if worker is None:
            return
        worker.room = worker.most
        if worker.room > len(worker.held):
            self._stand(peer, worker)
        else:
            self._step_out(peer, worker)

    def holders(self, key: TaskKey) -> tuple[bytes, ...]:
        """Return the workers that hold a unit of work."""
        return self._holders.get(key, ())

    def is_held(self, key: TaskKey) -> bool:
        """Return whether a worker holds a unit of work."""
        return key in self._holders

    def sort_by_host(self, *, matters: bool) -> None:
        """Keep a line for each host from now on, if it matters on which one work is done."""
        self._lines = HostLines() if matters else None
        for peer in self._free if matters else ():
            self._stand(peer, self._by_peer[peer])

    def waiting(self) -> Iterator[bytes]:
        """Yield the workers with a free slot, in the order in which they are served."""
        return iter(self._free)

    def hosts(self) -> Counter[str]:
        """Return how many workers each host has."""
        return Counter(worker.hello.host for worker in self._by_peer.values())

    def lease(
        self,
        key: TaskKey,
        now: float,
        avoided: Collection[int] = (),
        wanted: bytes = b"",
        host: str = "",
        *,
        can_wait: bool = False,
    ) -> bytes | None:
        """Lease a unit of work to the next worker with a free slot that does not hold it yet; return that worker.

        Workers with the numbers `avoided` do not get it. `wanted` comes first, if given; or one on `host`, if it is
        idle, or holds less than `wanted`, or the work `can_wait`.
        """
        holders = self._holders.get(key, ())
        if not (holders or avoided or host):  # nearly always
            peer = wanted or next(iter(self._free), None)
        else:
            peer = self._choose(holders, avoided, wanted, host, can_wait=can_wait)
        if peer is not None:
            self.give(peer, key, now)
        return peer

    def _choose(
        self, holders: Collection[bytes], avoided: Collection[int], wanted: bytes, host: str, *, can_wait: bool
    ) -> bytes | None:
        def may(peer: bytes) -> bool:
            return peer not in holders and self._by_peer[peer].number not in avoided

        at_home = next(filter(may, self._lines.at(host)), None) if wanted and self._lines else None
        if not (wanted and may(wanted)):
            return at_home or next(filter(may, self._free), None)
        if at_home is not None:
            held = len(self._by_peer[at_home].held)
            if can_wait or not held or held < len(self._by_peer[wanted].held):
                return at_home
        return wanted

    def give(self, peer: bytes, key: TaskKey, now: float) -> None:
        """Lease a unit of work to this worker, which goes to the end of the line."""
        worker = self._by_peer[peer]
        held = worker.held
        if not held:
            worker.busy_since = now
        held[key] = now
        holders = self._holders.get(key)
        self._holders[key] = (peer,) if holders is None else (*holders, peer)
        if worker.room <= len(held):
            self._step_out(peer, worker)
        elif peer in self._free:
            self._free.move_to_end(peer)
            if self._lines:
                self._lines.turn(worker.hello.host, peer)

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
                self._stand(peer, worker)
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

    def values(self) -> ValuesView[Worker]:
        """Return all workers; a mapping would look each one up."""
        return self._by_peer.values()

    def items(self) -> ItemsView[bytes, Worker]:
        """Return all peers and workers, in the same way."""
        return self._by_peer.items()

    def pairs(self) -> list[tuple[bytes, Worker]]:
        """Return all peers and workers, as a copy: workers may be removed during a loop over it."""
        return list(self._by_peer.items())

    def _stand(self, peer: bytes, worker: Worker) -> None:
        """Let a worker with a free slot stand in line, if it does not already."""
        self._free[peer] = None
        if self._lines:
            self._lines.enter(worker.hello.host, peer)

    def _step_out(self, peer: bytes, worker: Worker) -> None:
        """Let a worker stand in line no longer."""
        self._free.pop(peer, None)
        if self._lines:
            self._lines.leave(worker.hello.host, peer)

    def _let_go(self, peer: bytes, key: TaskKey) -> None:
        holders = self._holders.pop(key)
        if len(holders) > 1:
            self._holders[key] = tuple([each for each in holders if each != peer])

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        held = {(peer, key) for peer, worker in self._by_peer.items() for key in worker.held}
        assert held == {(peer, key) for key, peers in self._holders.items() for peer in peers}  # noqa: S101
        assert self.reserved == sum(worker.reserved for worker in self._by_peer.values())  # noqa: S101
        for worker in self._by_peer.values():
            assert len(worker.held) <= worker.hello.slots * (1 if worker.hello.slots == 1 else 2)  # noqa: S101
            assert worker.doubled == (self._doubled and worker.hello.slots > 1)  # noqa: S101
        assert all(worker.room == worker.most for worker in self._by_peer.values())  # noqa: S101
        assert set(self._free) == {peer for peer, worker in self._by_peer.items() if worker.free}  # noqa: S101
        assert self._lines is None or sorted(self._free) == sorted(self._lines)  # noqa: S101
