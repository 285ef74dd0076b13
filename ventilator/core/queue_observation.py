"""Makes the record of one stream's work. Part of the leases core: no socket, no clock."""

from collections.abc import Callable

from penstock.protocol.messages import TaskKey
from penstock.ventilator.core.observation import StreamObservation
from penstock.ventilator.core.stream_queue import StreamQueue


def observe(queue: StreamQueue, is_held: Callable[[TaskKey], bool]) -> StreamObservation:
    """Return the state of a stream's work; `is_held` tells whether a worker has a unit of work."""
    works = queue.works.values()
    return StreamObservation(
        plan=queue.plan,
        wanted=len(works),
        ready=sum(work.ready for work in works),
        leased=sum(is_held(work.key) for work in works),
        under_way=sum(work.finished_at is not None for work in works),
        head_since=queue.head_since if queue.missing else None,
        typical_s=queue.typical_s,
        finished=queue.finished,
        hedged=queue.hedged,
        repeated=queue.repeated,
        given_up=len(queue.deaths.poison),
        spent=queue.spent,
        stopped=queue.stopped,
    )
