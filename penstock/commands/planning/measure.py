"""Measures what a stream costs: runs it on this machine for some seconds and reads the processor time of each part.

The stack has one worker and talks over TCP without shared memory, as parts on different machines do. What its parts
use while nothing flows is measured first and taken off. The ventilator is measured again with workers that are
simulated, since only then it is busy. Costs are processor time, so they hardly depend on what else this machine does.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.commands.planning.capacity import Costs
from penstock.commands.planning.simulated_peers import SimulatedPeers
from penstock.launcher.stack import Addresses, LocalStack
from penstock.protocol.errors import DeadlineError, PenstockError
from penstock.protocol.runtime.log import library_logger
from penstock.protocol.spec.spec import Spec
from penstock.protocol.transport.sockets import Hub
from penstock.trainer.client.feed import Feed

#: Seconds without a trainer, for what the parts use by themselves; seconds of batches before the measurement.
_IDLE_S, _WARM_UP_S = 2.0, 2.0
#: The least that a part is taken to cost (s): less cannot be told from nothing.
_LEAST_S = 1e-7
#: Simulated workers, the tasks that each holds, and seconds before and during the ventilator's own measurement.
_WORKERS, _SLOTS, _BUSY_UP_S, _BUSY_S = 32, 8, 1.0, 3.0
#: Seconds after which a stream that gives no batch is given up, and a ventilator is killed that does not end.
_PATIENCE_S, _END_S = 120.0, 10.0


@dataclass(frozen=True, slots=True)
class _Used:
    """Processor seconds of each part up to a moment."""

    at: float
    by_part: Mapping[str, float]

    def since(self, before: "_Used", resting: Mapping[str, float]) -> dict[str, float]:
        """Return what each part used since then, beyond `resting` processor seconds per second."""
        passed = self.at - before.at
        return {part: used - before.by_part[part] - resting[part] * passed for part, used in self.by_part.items()}


def measure(spec: Spec, roots: Mapping[str, str], seconds: float, tell: Callable[[str], object]) -> Costs:
    """Run the spec's one stream for `seconds` and return its costs; `read_bytes` is left at 0.

    `tell` gets what is being done. Raises PenstockError where the system does not say what a process uses.
    """
    if not sys.platform.startswith("linux"):
        raise PenstockError(f"penstock plan reads processor times of Linux, this is {sys.platform}: run it there")
    [(name, stream)] = spec.streams.items()
    spec = spec.model_copy(update={"streams": {name: stream.model_copy(update={"cache": None})}})
    apart = {"shared_memory": False}
    with ExitStack() as cleanup:
        tell("listing the source")
        stack = LocalStack(
            spec, workers=1, roots=roots, addresses=_loopback(), options={"worker": apart, "sink": apart}
        )
        cleanup.enter_context(stack)
        tell("measuring the parts at rest")
        before = _used(stack)
        time.sleep(_IDLE_S)
        rested = _used(stack)
        resting = {
            part: used / _IDLE_S for part, used in rested.since(before, dict.fromkeys(before.by_part, 0.0)).items()
        }
        resting["trainer"] = 0.0
        feed = cleanup.enter_context(stack.feed(name, rank=0, world_size=1, timeout_s=_PATIENCE_S))
        tell("warming up")
        _take(feed, _WARM_UP_S)
        tell(f"measuring for {seconds:g} s")
        before = _used(stack)
        samples = _take(feed, seconds)
        used = _used(stack).since(before, resting)
        plan = feed.plan
    tell("measuring the ventilator under load")
    return Costs(
        worker_s=max(_LEAST_S, used["worker-0"] / samples),
        sink_s=max(_LEAST_S, used["sink"] / samples),
        trainer_s=max(_LEAST_S, used["trainer"] / samples),
        ventilator_s_per_task=_ventilator_s_per_task(spec, roots),
        samples_per_task=plan.task_samples,
        sample_bytes=plan.sample_bytes,
        read_bytes=0,
    )


def _ventilator_s_per_task(spec: Spec, roots: Mapping[str, str]) -> float:
    """Return the processor seconds that a task costs a ventilator that is busy."""
    with tempfile.TemporaryDirectory(prefix="penstock-plan-") as folder, ExitStack() as cleanup:
        address = f"ipc://{folder}/ventilator.sock"
        pid = cleanup.enter_context(_ventilator(spec, roots, address, Path(folder)))
        hub = Hub(library_logger("plan"))
        cleanup.callback(hub.close)
        [stream] = spec.streams
        peers = SimulatedPeers(hub, address, stream, _WORKERS, _SLOTS)
        peers.run(_BUSY_UP_S)
        before, confirmed = _processor_s(pid), peers.confirmed
        peers.run(_BUSY_S)
        return (_processor_s(pid) - before) / max(1, peers.confirmed - confirmed)


@contextmanager
def _ventilator(spec: Spec, roots: Mapping[str, str], address: str, folder: Path) -> Generator[int]:
    """Run a ventilator without keys; yield its process ID."""
    path = folder / "spec.json"
    path.write_text(spec.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-P", "-m", "penstock.ventilator", "--spec", str(path), "--bind", address]
    for name, root in roots.items():
        command += ["--root", f"{name}={root}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    process = subprocess.Popen([*command, "--log-level", "error"], env=environment)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_S)


def _take(feed: Feed, seconds: float) -> int:
    """Take batches for some seconds, at least one; return how many samples they had. Raises DeadlineError."""
    samples, until = 0, time.monotonic() + seconds
    while True:
        for batch in feed:
            samples += len(next(iter(batch.values())))
            if time.monotonic() >= until:
                return samples
        if not samples:
            raise DeadlineError("the stream gave no batch in a whole epoch: `penstock quarantine` says what failed")


def _used(stack: LocalStack) -> _Used:
    """Return the processor seconds of every part so far; this process is the trainer."""
    used = {name: _processor_s(child.process.pid) for name, child in stack.children.items()}
    return _Used(time.monotonic(), used | {"trainer": time.process_time()})


def _processor_s(pid: int) -> float:
    """Return a process's processor seconds, to the nanosecond: psutil and /proc/PID/stat count in hundredths.

    This is what clock_getcpuclockid(3) gives for the process on Linux (include/linux/posix-timers.h of the kernel).
    """
    return time.clock_gettime(~pid << 3 | 2)


def _loopback() -> Addresses:
    """Return addresses of free TCP ports of loopback."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(3)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return Addresses(*(f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in sockets))
