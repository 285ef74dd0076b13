"""One worker as the ventilator knows it, and how much it may get. Part of the leases core: no socket, no clock."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from penstock.protocol.heartbeat import Liveness
from penstock.protocol.messages import Hello, TaskKey, WorkerStats
from penstock.ventilator.core.observation import WorkerObservation


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
    #: May hold twice as many tasks as it has slots.
    doubled: bool = False
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
        return 1 if self.misses else self.hello.slots * (2 if self.doubled else 1)

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
