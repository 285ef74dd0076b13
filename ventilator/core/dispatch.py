"""Which ready work goes to which worker: lowest position first, streams in turn by how far ahead they are.

Part of the leases core: no socket, no clock. Each lease bears a proof (`protocol/lease_proofs.py`), which the sink
checks. An item that a worker has failed goes to another worker if the sink asks for a second word on it. Where hosts
keep decoded images (`hosts/homes.py`), or have sinks that want most of a unit's samples (`sinks/needs.py`), a worker
gets work that is at home on its host first, and any other if there is none.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from penstock.protocol.event_log import EventLog
from penstock.protocol.instructions import Instruction, Send
from penstock.protocol.lease_proofs import LeaseProver
from penstock.protocol.messages import Task, Tasks
from penstock.ventilator.core.hosts.homes import Homes
from penstock.ventilator.core.second_words import SecondWords
from penstock.ventilator.core.sinks.links import Sinks
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.suspects import Suspects
from penstock.ventilator.core.work import Work
from penstock.ventilator.core.workers import Workers

#: A worker that holds so many tasks, one that it runs and one that it reads ahead, waits for work that is at home.
_ENOUGH = 2
#: Least time (s) between two searches for homes: workers may come and go as often as they like.
_HOMES_S = 1.0
#: Workers may hold twice as many tasks as they have slots where these many take less time than this (s), and there are
#: this many times as many tasks as they would hold then. How often that is considered (s).
_SHORT_S, _PLENTY, _CONSIDERED_S = 0.5, 2, 0.5
#: Most tasks in one message, without targets.
_TASKS = 16
#: Most tasks that are leased at once, if the caller does not say.
LEASED_BY_DEFAULT = 1024


class Dispatcher:
    """Leases ready work to workers with free slots."""

    def __init__(  # noqa: PLR0913 - what is brought together here
        self,
        queues: Mapping[str, StreamQueue],
        workers: Workers,
        sinks: Sinks,
        suspects: Suspects,
        prover: LeaseProver,
        second_words: SecondWords,
        *,
        log: EventLog,
    ) -> None:
        """Lease the work of `queues` to `workers`, for `sinks`; suspected work goes through `suspects`."""
        self._queues, self._workers, self._suspects, self._log = queues, workers, suspects, log
        self._sinks = sinks
        self._only = next(iter(queues.values())) if len(queues) == 1 else None
        self._homes = next((homes for queue in queues.values() if (homes := queue.parts.homes) is not None), Homes())
        self._version, self._homed_at, self._homed = (0, 0), -_HOMES_S, False
        self._prover, self._second_words = prover, second_words
        self._considered_at = -_CONSIDERED_S
        #: Whether the last call of `dispatch` may have left tasks for the next one.
        self.more = False

    def dispatch(self, now: float, most: int = LEASED_BY_DEFAULT) -> list[Instruction]:
        """Return messages of tasks for each worker that gets any: of `most` tasks in all."""
        outgoing: dict[bytes, list[Task]] = {}
        self._find_homes(now)
        self._double_slots(now)
        for reserved, queue, work in self._suspects.lease(self._queues.values(), now):
            self._lease(reserved, queue, work, outgoing, now)
        refused: list[tuple[StreamQueue, Work]] = []
        leased = 0
        while leased < most and self._workers.free and (choice := self._next()):
            queue, work, wanted = choice
            avoided = self._second_words.avoided(work, now) if work.doubted_by else ()
            host = work.home if wanted and work.home != self._workers[wanted].hello.host else ""
            can_wait = bool(host) and queue.parts.can_wait(work.key)
            peer = self._workers.lease(work.key, now, avoided, wanted, host, can_wait=can_wait)
            if peer is None:
                refused.append((queue, work))
            else:
                self._lease(peer, queue, work, outgoing, now)
                leased += 1
        for queue, work in refused:
            queue.push(work)
        self.more = leased >= most
        return [Send(peer, message) for peer, tasks in outgoing.items() for message in _messages(tasks)]

    def _lease(
        self, peer: bytes, queue: StreamQueue, work: Work, outgoing: dict[bytes, list[Task]], now: float
    ) -> None:
        worker, key = self._workers[peer], work.key
        name, vouched = worker.hello.worker, worker.number in work.doubted_by
        made = queue.task(work)
        lease = self._prover.lease(key, name, worker.number, [item.name for item in made.items], vouched=vouched)
        task = Task(key, made.attempt, made.epoch, made.items, lease, self._sinks.destinations(work))
        if peer in outgoing:
            outgoing[peer].append(task)
        else:
            outgoing[peer] = [task]
        self._log.add(now, key, f"leased to {name}")

    def _next(self) -> tuple[StreamQueue, Work, bytes] | None:
        """Take the ready work that comes next, of all streams, and if homes matter the worker that it was taken for."""
        if not self._homed:
            queue = self._only or self._foremost("", elsewhere=True)
            work = queue and queue.pop()
            return (queue, work, b"") if queue and work else None
        for peer in self._workers.waiting():
            worker = self._workers[peer]
            host, elsewhere = worker.hello.host, not self._homes or len(worker.held) < _ENOUGH
            queue = self._foremost(host, elsewhere=elsewhere)
            work = queue and queue.pop(host, elsewhere=elsewhere)
            if queue and work:
                return queue, work, peer
            if elsewhere:  # nothing is ready
                return None
        return None

    def _foremost(self, host: str, *, elsewhere: bool) -> StreamQueue | None:
        """Return the stream whose work for a worker of this host is the least ahead of its trainer."""
        if self._only:
            return self._only
        leads = [
            (lead, name)
            for name, queue in self._queues.items()
            if (lead := queue.lead(host, elsewhere=elsewhere)) is not None
        ]
        return self._queues[min(leads)[1]] if leads else None

    def _find_homes(self, now: float) -> None:
        """Find homes anew if workers or sinks came or went."""
        if self._version == (self._workers.version, self._sinks.version) or now < self._homed_at + _HOMES_S:
            return
        hosts, queues = self._workers.hosts(), self._queues.values()
        changed = self._sinks.find_hosts(hosts)
        changed |= any(queue.parts.homes is not None for queue in queues) and self._homes.update(hosts)
        self._version, self._homed_at = (self._workers.version, self._sinks.version), now
        self._homed = bool(self._homes or self._sinks.hosts)
        self._workers.sort_by_host(matters=self._homed)
        if changed:
            for queue in queues:
                queue.rehome()

    def _double_slots(self, now: float) -> None:
        """Let workers hold more where tasks are short and plenty: each then reports several at once, and less often.

        Where tasks are few, each worker's share of them should be small, lest one that is slow hold up the others.
        """
        if now < self._considered_at + _CONSIDERED_S:
            return
        self._considered_at = now
        queues = [queue for queue in self._queues.values() if queue.works]
        slots = [worker.hello.slots for worker in self._workers.values()]
        plenty = sum(len(queue.works) for queue in queues) >= _PLENTY * 2 * sum(slots)
        longest_s = max((queue.typical_s or math.inf for queue in queues), default=math.inf)
        self._workers.double(doubled=plenty and longest_s * max(slots, default=0) < _SHORT_S)


def _messages(tasks: Sequence[Task]) -> Iterator[Tasks]:
    """Put tasks into messages whose headers a worker accepts (8 MB): a task may have 1 MB of targets, 6 MB as JSON."""
    most = 1 if any(task.items and task.items[0].cells for task in tasks) else _TASKS
    for start in range(0, len(tasks), most):
        yield Tasks(tasks=tuple(tasks[start : start + most]))
