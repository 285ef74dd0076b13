"""The rests of a worker's loop and of the ventilator, played against each other: no worker may run out of tasks."""

from collections import deque

import pytest
from support.cores.leases_harness import CoreHarness
from support.plans import make_plan

from penstock.protocol.messages import TaskKey
from penstock.ventilator.resting import rest_s
from penstock.worker.resting import Resting

#: How long a message is on its way (s), the part of a task's time that reading its files takes, and into how many steps
#: of the clock a task is cut.
_WAY_S, _READING, _STEPS = 0.001, 0.1, 25


class PlayedWorker:
    """A worker with a loop that rests, and threads that read and make tasks, by the clock of a harness."""

    def __init__(self, peer: bytes, task_s: float) -> None:
        """Hold nothing; a task takes so long."""
        self.peer, self.task_s = peer, task_s
        self.idle_s = 0.0
        self.rests = 0
        self._resting = Resting()
        self._rest_until = 0.0
        #: Tasks that are here, the first of which is made, each with when it was read; those on their way.
        self._held: deque[tuple[float, TaskKey]] = deque()
        self._coming: deque[tuple[float, TaskKey]] = deque()
        self._read_at = 0.0
        #: When the task that is made is done; None while none is.
        self._done_at: float | None = None
        self._done: list[TaskKey] = []

    def send(self, now: float, keys: list[TaskKey]) -> None:
        """Put tasks on their way to it."""
        self._coming += [(now + _WAY_S, key) for key in keys]

    def step(self, now: float, step_s: float) -> list[TaskKey]:
        """Let a step's time pass; return what it reports."""
        told = now >= self._rest_until
        if self._done_at is not None and now >= self._done_at:
            self._done.append(self._held.popleft()[1])
            self._done_at = None
            told = told or self._resting.ends(now, len(self._held))
        if self._done_at is None:
            if self._held and now >= self._held[0][0]:
                self._done_at = now + self.task_s
            else:
                self.idle_s += step_s
        return self._turn(now) if told else []

    def _turn(self, now: float) -> list[TaskKey]:
        self._resting.stop()
        while self._coming and self._coming[0][0] <= now:
            self._read_at = max(self._read_at, now) + _READING * self.task_s
            self._held.append((self._read_at, self._coming.popleft()[1]))
        reported, self._done, self._rest_until = self._done, [], now
        if len(self._held) > 1:
            self._rest_until = self._resting.begin(now, _READING * self.task_s, self.task_s, len(self._held))
            self.rests += 1
        return reported


@pytest.mark.parametrize("plenty", [True, False])
@pytest.mark.parametrize("task_s", [0.01, 0.018, 0.09, 0.3])
@pytest.mark.parametrize("slots", [3, 8])
def test_no_worker_runs_out_of_tasks_while_both_sides_rest(slots: int, task_s: float, plenty: bool) -> None:  # noqa: FBT001, PLR0915
    """However long a task takes: a report that lies unread is read before the worker has done the other tasks.

    Where tasks are plenty and short, workers come to hold twice as many as they have slots. One worker is a little
    faster than the other, so that all phases of their rests meet.
    """
    tasks, window = max(30 * slots, round(3.0 / task_s)), (16 if plenty else 6) * slots
    harness = CoreHarness(make_plan(items=tasks, task_items=1, batch_size=1, window_samples=tasks))
    harness.sink()
    played = {b"a": PlayedWorker(b"a", task_s), b"b": PlayedWorker(b"b", 0.95 * task_s)}
    for peer in played:
        harness.join(peer, slots=slots)
    mail: deque[tuple[float, bytes, list[TaskKey]]] = deque()
    awake_at, beat_at, step_s, rests, most = 0.0, 0.0, task_s / _STEPS, 0, 0
    left, began = list(range(tasks)), 0
    harness.miss((0, window))
    while len(left) > 8 * slots:
        now = harness.now = harness.now + step_s
        for worker in played.values():
            if reported := worker.step(now, step_s):
                mail.append((now + _WAY_S, worker.peer, reported))
        if now >= beat_at:
            beat_at = now + 0.5
            for peer in played:
                harness.beat(peer, *harness.leases.workers[peer].held)
        if now < awake_at:
            continue
        heard = not mail
        while mail and mail[0][0] <= now:
            heard, (_, peer, keys) = True, mail.popleft()
            harness.finish(peer, *keys, took_s=task_s)
            done = {key.ordinal for key in keys}
            left = [ordinal for ordinal in left if ordinal not in done]
            harness.miss(*((ordinal, ordinal + 1) for ordinal in left[:window]))
        for peer, keys in harness.deal().items() if heard else ():
            played[peer].send(now, keys)
        rest = rest_s(harness.leases.workers, harness.leases.queues)
        awake_at, rests = now + rest, rests + (rest > 0.0)
        most = max(most, *(len(harness.leases.workers[peer].held) for peer in played))
        if not began and len(left) < tasks - 8 * slots:  # until then it is not known how long a task takes
            began = len(left)
            for worker in played.values():
                worker.idle_s, worker.rests = 0.0, 0
    assert most == (2 * slots if plenty and slots * task_s < 0.5 else slots)
    assert (rests > 0) == (task_s < 0.2), "where tasks take longer, two reports seldom come within the longest rest"
    assert all(0 < worker.rests < began - len(left) for worker in played.values())
    assert {b"a": 0.0, b"b": 0.0} == {peer: worker.idle_s for peer, worker in played.items()}
