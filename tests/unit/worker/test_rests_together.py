"""The rests of a worker's loop and of the ventilator, played against each other: no worker may run out of tasks."""

from collections import deque

import pytest
from support.cores.leases_harness import CoreHarness
from support.plans import make_plan

from penstock.protocol.messages import TaskKey
from penstock.ventilator.resting import rest_s
from penstock.worker.resting import Resting

#: How long a message is on its way (s), and into how many steps of the clock a task is cut.
_WAY_S, _STEPS = 0.002, 30
#: How long reading a task's files takes, of which the next ones are read ahead (s).
_READ_S = 0.001


class PlayedWorker:
    """A worker with a loop that rests and a thread that makes tasks, by the clock of a harness."""

    def __init__(self, peer: bytes, task_s: float) -> None:
        """Hold nothing; a task takes so long."""
        self.peer, self.task_s = peer, task_s
        self.idle_s = 0.0
        self._resting = Resting()
        self._rest_until = 0.0
        #: Tasks that are here, the first of which is made; those on their way; when the first is done.
        self._held: deque[TaskKey] = deque()
        self._coming: deque[tuple[float, TaskKey]] = deque()
        self._done_at = 0.0
        self._done: list[TaskKey] = []

    def send(self, now: float, keys: list[TaskKey]) -> None:
        """Put tasks on their way to it."""
        self._coming += [(now + _WAY_S, key) for key in keys]

    def step(self, now: float, step_s: float) -> list[TaskKey]:
        """Let a step's time pass; return what it reports."""
        told = now >= self._rest_until
        if not self._held:
            self.idle_s += step_s
        elif now >= self._done_at:
            self._done.append(self._held.popleft())
            self._done_at = now + self.task_s
            told = told or self._resting.ends(now, len(self._held))
        if not told:
            return []
        self._resting.stop()
        while self._coming and self._coming[0][0] <= now:
            if not self._held:
                self._done_at = now + self.task_s
            self._held.append(self._coming.popleft()[1])
        reported, self._done = self._done, []
        rests = len(self._held) > 1
        self._rest_until = self._resting.begin(now, _READ_S, self.task_s, len(self._held)) if rests else now
        return reported


@pytest.mark.parametrize("task_s", [0.01, 0.018, 0.045, 0.09, 0.3])
@pytest.mark.parametrize("slots", [3, 4, 8])
def test_no_worker_runs_out_of_tasks_while_both_sides_rest(slots: int, task_s: float) -> None:
    """However long a task takes: a report that lies unread is read before the worker has done the other tasks.

    Tasks are plenty, so workers come to hold twice as many as they have slots. One worker is a little faster than the
    other, so that all phases of their rests meet.
    """
    tasks = 40 * slots
    harness = CoreHarness(make_plan(items=tasks, task_items=1, batch_size=1, window_samples=tasks))
    harness.sink()
    played = {b"a": PlayedWorker(b"a", task_s), b"b": PlayedWorker(b"b", 0.95 * task_s)}
    for peer in played:
        harness.join(peer, slots=slots)
    harness.miss((0, tasks))
    mail: deque[tuple[float, bytes, list[TaskKey]]] = deque()
    awake_at, beat_at, step_s, warm = 0.0, 0.0, task_s / _STEPS, False
    missing = set(range(tasks))
    while len(missing) > 8 * slots:
        now = harness.now = harness.now + step_s
        for worker in played.values():
            if reported := worker.step(now, step_s):
                mail.append((now + _WAY_S, worker.peer, reported))
        if now >= beat_at:
            beat_at = now + 0.5
            harness.wait(0.0)
            for peer in played:
                harness.beat(peer, *harness.leases.workers[peer].held)
        if now < awake_at:
            continue
        heard = not mail
        while mail and mail[0][0] <= now:
            heard, (_, peer, keys) = True, mail.popleft()
            harness.finish(peer, *keys, took_s=task_s)
            missing.difference_update(key.ordinal for key in keys)
            harness.miss(*((ordinal, ordinal + 1) for ordinal in sorted(missing)))
        for peer, keys in harness.deal().items() if heard else ():
            played[peer].send(now, keys)
        awake_at = now + rest_s(harness.leases.workers, harness.leases.queues)
        if not warm and len(missing) < tasks - 8 * slots:  # until then it is not known how long a task takes
            warm = True
            for worker in played.values():
                worker.idle_s = 0.0
    assert {b"a": 0.0, b"b": 0.0} == {peer: worker.idle_s for peer, worker in played.items()}
