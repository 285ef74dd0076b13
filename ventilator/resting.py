"""How long the ventilator may leave messages unread: for as long as every worker has enough to do.

No socket, no clock. Each wake-up of this process takes a core from the workers, and finds its
code and data pushed out of the caches by them. So reports of several finished tasks are read together, while each
worker still has tasks that it did not tell of (`protocol.heartbeat.tasks_left`).
"""

from collections.abc import Mapping

from penstock.protocol.heartbeat import tasks_left
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.workers import Workers

#: Longest rest (s), and the shortest that is worth it.
_MOST_S, _LEAST_S = 0.1, 0.002
#: A worker that holds no more tasks than this is answered at once.
_FEW = 2
#: Part of the time that a worker's last tasks take for which its report may lie unread: new tasks have a way to go, and
#: their files are to be read.
_PART = 0.5


def rest_s(workers: Workers, queues: Mapping[str, StreamQueue]) -> float:
    """Return for how many seconds messages may wait once ready work was leased; 0: not at all."""
    if workers.reserved:
        return 0.0
    fewest: int | None = None
    for worker in workers.values():
        if worker.able and (fewest is None or len(worker.held) < fewest):
            fewest = len(worker.held)
            if fewest <= _FEW:  # under load one is found soon: looking at a thousand at each turn would cost more
                return 0.0
    if fewest is None:
        return 0.0
    shortest = min((queue.typical_s or 0.0 for queue in queues.values() if queue.works), default=0.0)
    rest = min(_MOST_S, _PART * tasks_left(fewest) * shortest)
    return rest if rest >= max(_LEAST_S, shortest / len(workers)) else 0.0  # else hardly two reports would meet
