"""What the batch script of a Slurm job runs on its first node: `python -m penstock.launcher.slurm.job FOLDER`.

The ventilator is a child of this process, as is the sink of a job with one; the workers and sink of each node are a
step, and so is the trainer. Before the time limit, and when a node that trains is lost, the job is put back into the
queue: the trainer goes on where it saved.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from penstock.launcher.service_command import service_command, services_for_all
from penstock.launcher.slurm import commands
from penstock.launcher.slurm.job_array import JobArray
from penstock.launcher.slurm.node import DRAIN_S
from penstock.launcher.slurm.plan import PATIENCE_S, JobPlan, Placed, RunFolder
from penstock.launcher.slurm.steps import node_steps, start, trainer_command
from penstock.launcher.supervisor import Supervisor, start_command
from penstock.protocol.errors import PenstockError, StackError
from penstock.protocol.runtime.printable import say
from penstock.protocol.transport.own_files import make_own_folder, open_own

#: How often steps and services are looked after (s).
_LOOK_S = 0.2
#: Seconds that are kept for the workers' drain and the services' end: of those before the time limit, and after that.
_STOP_S = DRAIN_S + 5.0
#: Seconds for which Slurm is asked to put the job back into the queue, and that it may take to end this process then.
_REQUEUE_S, _REQUEUED_S = 60.0, 300.0
#: Seconds that each node may take to answer, and that Slurm may take to give one up that does not (`SlurmdTimeout`, of
#: 300 s by default, and the rounds in which it asks).
_ANSWER_S, _GIVE_UP_S = 30.0, 600.0
#: Statuses of a trainer that SIGUSR1 has ended: that of `srun` for its ranks, and that of `srun` itself.
_BY_SIGNAL = (128 + signal.SIGUSR1, -signal.SIGUSR1)
#: Seconds that a change of the number of workers may take: the wait for another one, and some commands of Slurm.
_CHANGE_S = "600"


class Job:
    """A running job."""

    def __init__(self, folder: RunFolder) -> None:
        """Read what is to be run. Raises SpecError."""
        self._folder, self._plan = folder, JobPlan.read(folder.plan, PATIENCE_S)
        self._id = os.environ["SLURM_JOB_ID"]
        self._nodes = commands.host_names(os.environ["SLURM_JOB_NODELIST"])
        self._failure = ""
        #: When the trainer was asked to save; None: it was not. And whether Slurm ends the job.
        self._asked_at: float | None = None
        self._warned = self._ended = False
        names = ("ventilator",) if self._plan.sink_per_node else ("ventilator", "results", "trainers")
        self._ports = self._plan.hold_ports(len(names))
        host = commands.node_address(os.environ.get("SLURMD_NODENAME") or socket.gethostname())
        addresses = [f"tcp://{host}:{number}" for number in self._ports.numbers]
        self._placed = Placed(job=self._id, **dict(zip(names, addresses, strict=True)))

    def run(self) -> int:
        """Run until the trainer ends; return the exit status."""
        signal.signal(signal.SIGUSR1, self._warn)
        signal.signal(signal.SIGTERM, self._end)
        make_own_folder(self._folder.logs)
        self._write()
        supervisor = Supervisor(self._fail, self._folder.logs, start_command)
        steps = node_steps(self._plan, self._folder, self._placed, self._nodes)
        self._start_services(supervisor)
        array = JobArray(self._folder, self._plan, self._placed, lambda: self._follow(supervisor), self._refuse)
        try:
            array.start()
            trainer = start(trainer_command(self._plan, self._folder, self._placed), None, self._plan.folder)
            while trainer.poll() is None and not self._failure and not self._ended:
                now = time.monotonic()
                for step in steps:
                    step.turn(now)
                self._ask_to_save(trainer, now)
                if self._asked_at and now > self._asked_at + self._patience_s:
                    say("penstock slurm: the trainer did not end in time: it goes on from its last checkpoint")
                    break
                time.sleep(_LOOK_S)
            again = self._is_to_go_on(trainer)
        finally:
            for step in steps:
                step.drain()
            deadline = time.monotonic() + _STOP_S
            array.end(_STOP_S / 2)
            for step in steps:
                step.wait(deadline)
            supervisor.stop(first="autoscale")
        return self._requeue() if again else self._status(trainer)

    @property
    def _patience_s(self) -> float:
        """Seconds that the trainer has for saving."""
        return max(5.0, self._plan.signal_s - _STOP_S - 10.0)

    def _write(self) -> None:
        """Write down where the job runs: for people, for `penstock status`, and in the queue's comment."""
        self._placed.write(self._folder.placed)
        with open_own(self._folder.status, "w", encoding="utf-8") as file:
            file.write(f'address = "{self._placed.ventilator}"\nkeys = "{self._folder.keys}"\n')
        restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
        say(f"penstock slurm: job {self._id}, start {int(restarts) + 1}, services at {self._placed.ventilator}")
        with suppress(PenstockError):  # a site may forbid it
            commands.run(["scontrol", "update", f"JobId={self._id}", f"Comment={_status_command(self._folder)}"])

    def _start_services(self, supervisor: Supervisor) -> None:
        """Start the ventilator, and a sink for all."""
        plan, folder, placed = self._plan, self._folder, self._placed
        common = {"keys": str(folder.keys), "health": ""}
        ventilator, sink = services_for_all(placed.ventilator, placed.results, placed.trainers)
        ventilator |= {"spec": str(folder.spec), "root": dict(plan.roots)}
        if plan.array and plan.array_follows:
            ventilator["workers_most"] = plan.fixed_workers + plan.array[1]
            ventilator["workers_least"] = max(1, plan.fixed_workers + plan.array[0])
        supervisor.add("ventilator", service_command("ventilator", common | ventilator))
        os.environ["PENSTOCK_KEYS"] = str(folder.keys)
        if not plan.sink_per_node:  # else each node's step runs one
            sink |= {"quarantine": str(folder.quarantine)}
            supervisor.add("sink", service_command("sink", common | sink))
            os.environ["PENSTOCK_SINK"] = placed.trainers

    def _follow(self, supervisor: Supervisor) -> None:
        """Start what follows the number of workers that are needed."""
        plan, folder, placed = self._plan, self._folder, self._placed
        if plan.array_follows:
            apply = [plan.python, "-P", "-m", "penstock.commands.engines.slurm_workers", str(folder.path), "{workers}"]
            words = " ".join(f"'{word}'" for word in apply)
            follow = ["--wait-s", "3600", "--command-s", _CHANGE_S, "--keys", str(folder.keys), "--apply", words]
            module = [plan.python, "-P", "-m", "penstock.commands.autoscale", placed.ventilator]
            supervisor.add("autoscale", [*module, *follow])

    def _ask_to_save(self, trainer: "subprocess.Popen[bytes]", now: float) -> None:
        """Pass Slurm's warning on, once."""
        if self._warned and self._asked_at is None:
            say("penstock slurm: the time limit is near: the trainer is asked to save and to end")
            self._asked_at = now
            trainer.send_signal(signal.SIGUSR1)

    def _is_to_go_on(self, trainer: "subprocess.Popen[bytes]") -> bool:
        """Return whether the job goes back into the queue; the trainer has ended, or is ended here."""
        over = trainer.poll() is not None
        if not over:
            trainer.terminate()  # which `srun` takes as: kill the step
        if self._failure or self._ended or not self._plan.requeue:
            return False
        if self._asked_at is not None:
            return not over or self._has_saved(trainer.returncode)
        if trainer.returncode == 0:
            return False
        return self._has_lost_a_node(trainer.returncode)

    def _has_saved(self, status: int) -> bool:
        """Return whether a trainer that was asked to save, and has ended, may go on; else the job ends with an error.

        One that the signal itself has ended, or that fails, would do so again at each start, for ever.
        """
        if status == 0 or not commands.all_answer(len(self._nodes), _ANSWER_S):
            return True
        if self._failure or self._ended:
            return False
        why = f"ended with status {status} when it was asked to save: it would begin anew at each start of the job"
        if status in _BY_SIGNAL:
            why = "has no handler for SIGUSR1, which asks it to save, and was ended by it: it would always begin anew"
        self._refuse(
            f"the trainer {why}. Let it handle the signal, save, and end with status 0, or ignore the signal if it "
            "saves by itself: docs/slurm.md shows it under `Before the time limit`"
        )
        return False

    def _has_lost_a_node(self, status: int) -> bool:
        """Return whether a node is lost, which makes a rank fail before Slurm notices, and then requeues the job."""
        if commands.all_answer(len(self._nodes), _ANSWER_S):
            return False
        say(f"penstock slurm: the trainer ended with status {status}, and a node does not answer: waiting for Slurm")
        deadline = time.monotonic() + _GIVE_UP_S
        while not (lost := commands.lost_nodes(self._nodes)) and time.monotonic() < deadline and not self._ended:
            time.sleep(1.0)
        return bool(lost) and not self._ended

    def _requeue(self) -> int:
        """Put the job back into the queue, which ends this process. Raises StackError if Slurm does not want to."""
        say("penstock slurm: back into the queue")
        commands.requeue(self._id, _REQUEUE_S)
        deadline = time.monotonic() + _REQUEUED_S
        while not self._ended and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        if not self._ended:
            raise StackError(
                f"Slurm has not ended this job within {_REQUEUED_S:.0f} s of its return into the queue: "
                f"`scontrol show job {self._id}` says why; submit it again"
            )
        return 0

    def _status(self, trainer: "subprocess.Popen[bytes]") -> int:
        if self._failure:
            raise StackError(self._failure)
        if self._ended:
            return 128 + signal.SIGTERM
        return trainer.returncode if trainer.returncode >= 0 else 128 - trainer.returncode

    def _warn(self, _number: int, _frame: FrameType | None) -> None:
        self._warned = True

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ended = True

    def _fail(self, name: str, why: str) -> None:
        self._refuse(f"{name} {why}")

    def _refuse(self, why: str) -> None:
        self._failure = why


def _status_command(folder: RunFolder) -> str:
    return f"penstock status --config {folder.status}"


def main(arguments: Sequence[str]) -> int:
    """Run the job; return the exit status."""
    try:
        return Job(RunFolder(arguments[0])).run()
    except PenstockError as error:
        print(f"penstock slurm: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
