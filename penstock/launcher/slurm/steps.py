"""The steps of a running Slurm job: the trainer's, and one of workers and a sink for each node, all apart."""

import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from penstock.launcher.slurm.node import REFUSED
from penstock.launcher.slurm.plan import JobPlan, Placed, RunFolder
from penstock.launcher.slurm.script import node_command
from penstock.protocol.errors import StackError
from penstock.protocol.runtime.printable import say
from penstock.protocol.transport.own_files import open_own

#: First and longest pause (s) before a step of workers is started again; a step that ran longer begins with the first.
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


def start(command: Sequence[str], log: Path | None, folder: str | None = None) -> "subprocess.Popen[bytes]":
    """Start a step; its output goes to the log, or to the job's own."""
    with open_own(log, "ab") if log else nullcontext() as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True
        )


def trainer_command(plan: JobPlan, folder: RunFolder, placed: Placed) -> list[str]:
    """Return the command that starts all ranks: processors of their own, all memory, all GPUs."""
    ranks = plan.nodes * plan.ranks_per_node
    where = [f"--nodes={plan.nodes}", f"--ntasks={ranks}", f"--ntasks-per-node={plan.ranks_per_node}"]
    shares = ["--exact", f"--cpus-per-task={plan.cpus_per_rank}", "--mem=0"]
    devices = [f"--gres=gpu:{plan.gpus_per_node}"] if plan.gpus_per_node else []
    module = [plan.python, "-P", "-m", "penstock.launcher.slurm.rank", str(folder.path), placed.ventilator]
    command = [*(module if plan.sink_per_node else ()), *plan.command]
    # A rank that ends with an error would leave the others waiting for it.
    return ["srun", *where, *shares, *devices, "--kill-on-bad-exit=1", "--job-name=trainer", *command]


class NodeStep:
    """The workers of one node, and its sink: started again when they end, for as long as the job runs."""

    def __init__(self, node: str, cpus: int, command: Sequence[str], log: Path) -> None:
        """Start nothing yet."""
        shares = ["--exact", f"--cpus-per-task={cpus}", "--mem=0", "--gres=none"]
        where = ["--nodes=1", "--ntasks=1", f"--nodelist={node}"]
        self.node, self._log = node, log
        self._command = ["srun", *where, *shares, "--job-name=workers", *command]
        self._pause_s, self._start_at = _PAUSE_S, time.monotonic()
        self._started_at = self._start_at
        self._process: subprocess.Popen[bytes] | None = None

    def turn(self, now: float) -> None:
        """Start the step if it does not run and may. Raises StackError if its workers refuse to run."""
        if self._process is None:
            if now >= self._start_at:
                self._start(now)
        elif (status := self._process.poll()) is not None:
            self._process = None
            if status == REFUSED:
                raise StackError(f"the services of {self.node} cannot run: {last_line(self._log)}")
            self._pause_s = _PAUSE_S if now > self._started_at + _LONGEST_PAUSE_S else self._pause_s
            self._put_off(f"ended with status {status}", now)

    def _start(self, now: float) -> None:
        try:
            self._process, self._started_at = start(self._command, self._log), now
        except OSError as error:  # its log cannot be opened while the file server restarts
            self._put_off(f"cannot be started: {error}", now)

    def _put_off(self, why: str, now: float) -> None:
        say(f"penstock slurm: the step of {self.node} {why}; again in {self._pause_s:.0f} s")
        self._start_at, self._pause_s = now + self._pause_s, min(_LONGEST_PAUSE_S, 2 * self._pause_s)

    def drain(self) -> None:
        """Tell the workers to finish what they have begun, and to leave."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR2)

    def wait(self, deadline: float) -> None:
        """Wait until the step has ended; kill it at the deadline (monotonic s)."""
        if self._process:
            try:
                self._process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def node_steps(plan: JobPlan, folder: RunFolder, placed: Placed, nodes: Sequence[str]) -> list[NodeStep]:
    """Return the step of workers and sink of each node."""
    cpus = plan.workers_per_node + plan.sink_per_node
    if not cpus:
        return []
    command = node_command(plan, folder, plan.workers_per_node, placed)
    return [NodeStep(name, cpus, command, folder.logs / f"workers-{name}.log") for name in nodes]


def last_line(log: Path) -> str:
    """Return the last line of a log that is no line of `srun`."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if not line.startswith("srun:")]
    except OSError as error:
        return f"{log} would say why: {error.strerror}"
    return lines[-1] if lines else f"see {log}"
