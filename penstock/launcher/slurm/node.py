"""What runs on a node of a Slurm job: `python -m penstock.launcher.slurm.node FOLDER WORKERS VENTILATOR [JOB]`.

Keeps the workers running, and the node's sink if each node that trains has one; drains the workers and then ends the
sink on SIGTERM or SIGUSR2: `srun` kills a step on the first, and passes the
second one on, to all processes of the step. It also leaves when the job has been started at another place, and as an
element of a job array when the job is gone, or shortly before its own time limit (SIGUSR1): then it goes back into the
queue, so that as many elements stay as were asked for.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from penstock.launcher.addresses import HeldPorts
from penstock.launcher.forked import ForkServer
from penstock.launcher.service_command import service_command
from penstock.launcher.slurm import commands
from penstock.launcher.slurm.array import was_told_to_leave
from penstock.launcher.slurm.node_sink import place_sink, sink_settings
from penstock.launcher.slurm.plan import PATIENCE_S, JobPlan, Placed, RunFolder
from penstock.launcher.spare import can_fork
from penstock.launcher.supervisor import Supervisor, start_command
from penstock.protocol.errors import DeadlineError, PenstockError, SpecError, StackError
from penstock.protocol.runtime.printable import try_to_say
from penstock.protocol.transport.own_files import make_own_folder

#: Seconds that the workers may take to drain: Slurm kills what is still there 30 s after its own SIGTERM.
DRAIN_S = 20.0
#: Exit status of services that have explained why they cannot run.
REFUSED = 2
#: How often (s) the workers are looked after, the job's place is read, and Slurm is asked whether the job is there.
_LOOK_S, _READ_S, _ASK_S = 0.2, 5.0, 60.0
#: Seconds for which Slurm is asked to put an element back into the queue: a drain leaves more of its last minute.
_REQUEUE_S = 15.0


class NodeServices:
    """The workers of a node and its sink, and when they leave."""

    def __init__(self, folder: RunFolder, count: int, ventilator: str, job: str) -> None:
        """Start nothing. `job`: leave when it is gone; empty: this runs within the job."""
        self._folder, self._count, self._ventilator, self._job = folder, count, ventilator, job
        self._plan = JobPlan.read(folder.plan, PATIENCE_S)
        self._node = os.environ.get("SLURMD_NODENAME") or "node"
        self._leaving = self._unread = self._comes_back = False
        self._element = f"{os.environ.get('SLURM_ARRAY_JOB_ID')}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
        self._failure = ""
        self._ports: HeldPorts | None = None

    def run(self) -> int:
        """Run them until they are told to leave; return the exit status."""
        signal.signal(signal.SIGTERM, self._leave)
        if self._job:
            signal.signal(signal.SIGUSR1, self._leave_for_a_while)
            if was_told_to_leave(self._folder, self._element):  # its node was lost before it had left
                return 0
        # Workers inherit what is blocked: else this signal, which reaches them too, would end them.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        forks = ForkServer() if can_fork() else None
        logs = self._folder.logs / self._node
        if self._job:
            logs = logs / f"array-{self._element}"
        make_own_folder(logs)
        supervisor = Supervisor(self._fail, logs, forks.start if forks else start_command)
        try:
            if self._plan.sink_per_node and not self._job:
                supervisor.add("sink", self._sink())
            for number in range(self._count):
                supervisor.add(f"worker-{number}", self._command())
            self._wait()
            supervisor.drain(DRAIN_S, first="worker")
        finally:
            supervisor.stop(first="worker")
            if forks:
                forks.close()
        if self._failure:
            print(f"penstock slurm: {self._failure}", file=sys.stderr)
            return REFUSED
        if self._comes_back and not (self._is_elsewhere() or self._is_gone()):
            self._requeue()
        return 0

    def _requeue(self) -> None:
        try:
            commands.requeue(self._element, _REQUEUE_S)
        except (StackError, DeadlineError) as error:
            try_to_say(
                f"penstock slurm: {error}; this element of the job array does not come back after its time limit"
            )

    def _sink(self) -> list[str]:
        placed, self._ports = place_sink(self._folder, self._plan, self._node, self._ventilator)
        first = commands.host_names(os.environ["SLURM_JOB_NODELIST"])[0] == self._node
        return service_command("sink", sink_settings(self._folder, placed, self._node, first=first))

    def _command(self) -> list[str]:
        own = {"ventilator": self._ventilator, "keys": str(self._folder.keys), "drain_s": DRAIN_S - 2}
        return service_command("worker", {**own, "health": "", **self._plan.worker})

    def _wait(self) -> None:
        read_at = ask_at = time.monotonic()
        while not self._leaving and not self._failure:
            if signal.sigtimedwait([signal.SIGUSR2], _LOOK_S):
                self._leaving = True
            now = time.monotonic()
            if now > read_at + _READ_S:
                self._leaving, read_at = self._leaving or self._is_elsewhere(), now
            if self._job and now > ask_at + _ASK_S:
                self._leaving, ask_at = self._leaving or self._is_gone(), now

    def _is_elsewhere(self) -> bool:
        try:
            elsewhere = Placed.read(self._folder.placed).ventilator != self._ventilator
        except SpecError as error:  # the file server restarts, or a quota is reached: it is read again
            if not self._unread:
                try_to_say(f"penstock slurm: {error}; the workers stay meanwhile")
            self._unread = True
            return False
        self._unread = False
        return elsewhere

    def _is_gone(self) -> bool:
        try:
            return not commands.is_known(self._job)
        except (StackError, DeadlineError) as error:  # the controller is busy or restarts: it is asked again
            try_to_say(f"penstock slurm: {error}; the workers stay meanwhile")
            return False

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self._leaving, self._comes_back = True, False

    def _leave_for_a_while(self, _number: int, _frame: FrameType | None) -> None:
        self._comes_back = self._comes_back or not self._leaving
        self._leaving = True

    def _fail(self, name: str, why: str) -> None:
        self._failure = f"{name} of node {self._node} {why}"


def main(arguments: Sequence[str]) -> int:
    """Run the workers; return the exit status: `REFUSED` if another try would not help."""
    folder, count, ventilator, *job = arguments
    try:
        return NodeServices(RunFolder(folder), int(count), ventilator, "".join(job)).run()
    except PenstockError as error:
        print(f"penstock slurm: {error}", file=sys.stderr)
        return REFUSED if isinstance(error, SpecError) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
