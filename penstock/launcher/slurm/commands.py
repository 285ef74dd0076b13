"""Slurm's own commands, each within a deadline; what they say becomes an error of ours."""

import shutil
import subprocess
import time
from collections.abc import Sequence

from penstock.protocol.errors import DeadlineError, SpecError, StackError

#: Seconds that a command of Slurm may take: a busy controller answers late.
_COMMAND_S = 60.0
#: Seconds until a controller that refuses is asked again.
_AGAIN_S = 1.0
#: How many elements an array may have by default.
_MOST_ELEMENTS = 1001
#: Parts of a node's state by which it is lost to its jobs.
_LOST = ("DOWN", "FAIL", "NOT_RESPONDING", "POWERED_DOWN", "REBOOT")


def run(command: Sequence[str]) -> str:
    """Run a command; return what it printed. Raises SpecError, StackError and DeadlineError."""
    if shutil.which(command[0]) is None:
        raise SpecError(f"there is no program {command[0]!r} here: run this on a login node of a Slurm cluster")
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlineError(
            f"{command[0]} did not answer within {_COMMAND_S:.0f} s: `scontrol ping` says if the controller is up"
        ) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").replace("\n", "; ")
        raise StackError(f"{' '.join(command[:2])}: {said}")
    return done.stdout


def submit(script: str) -> str:
    """Submit a script; return the number of the job. Raises StackError if Slurm refuses it."""
    return run(["sbatch", "--parsable", script]).strip().partition(";")[0]


def requeue(job: str, seconds: float) -> None:
    """Put a running job back into the queue, which ends it here; for so long, ask again if Slurm refuses.

    Its controller restarts, or is busy. Raises StackError and DeadlineError.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            run(["scontrol", "requeue", job])
        except (StackError, DeadlineError):
            if time.monotonic() >= deadline:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def host_names(nodes: str) -> list[str]:
    """Return the nodes of an expression such as n[1-3]."""
    return run(["scontrol", "show", "hostnames", nodes]).split()


def node_address(node: str) -> str:
    """Return the address by which Slurm itself reaches a node."""
    fields = run(["scontrol", "--oneliner", "show", "node", node]).split()
    found = [field.partition("=")[2] for field in fields if field.startswith("NodeAddr=")]
    return found[0] if found else node


def lost_nodes(nodes: Sequence[str]) -> list[str]:
    """Return those of the nodes that Slurm gave up."""
    lines = [line.split("|") for line in run(["sinfo", "-h", "-N", "-n", ",".join(nodes), "-o", "%N|%T"]).splitlines()]
    known = {name: state.upper() for name, state in lines}
    return sorted(name for name, state in known.items() if state.endswith("*") or state.startswith(_LOST))


def all_answer(nodes: int, seconds: float) -> bool:
    """Return whether all nodes of this job start a step in time."""
    command = ["srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--mem=0", "--gres=none", "true"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def most_elements() -> int:
    """Return how many elements a job array may have here. Raises StackError if it may have none."""
    words = [line.partition("=") for line in run(["scontrol", "show", "config"]).splitlines()]
    found = [value.strip() for name, _, value in words if name.strip() == "MaxArraySize"]
    most = int(found[0]) if found and found[0].isdecimal() else _MOST_ELEMENTS
    if not most:
        raise StackError(
            "MaxArraySize = 0 in slurm.conf: this cluster has no job arrays; use --workers-per-node instead"
        )
    return most


def elements(name: str) -> list[tuple[str, bool]]:
    """Return the elements of this user's job arrays of a name that wait or run, oldest first: number, does it run."""
    states = "PENDING,CONFIGURING,RUNNING,SUSPENDED,REQUEUED"
    text = run(["squeue", "-h", "--me", "--array", "--name", name, "--states", states, "--format", "%i|%T"])
    found = [line.strip().split("|") for line in text.splitlines() if line.strip()]
    return sorted(((number, state != "PENDING") for number, state in found), key=lambda each: _key(each[0]))


def drain(numbers: Sequence[str]) -> None:
    """Tell running elements of job arrays to finish what they have begun, and to leave."""
    if numbers:
        run(["scancel", "--batch", "--signal=TERM", *numbers])


def cancel(numbers: Sequence[str]) -> None:
    """Take waiting elements out of the queue; those that began meanwhile stay."""
    if numbers:
        run(["scancel", "--state=PENDING", *numbers])


def is_known(job: str) -> bool:
    """Return whether a job waits or runs. Raises StackError if the controller does not say."""
    try:
        return bool(run(["squeue", "-h", "--jobs", job, "--format", "%T"]).strip())
    except StackError as error:
        if "Invalid job id" in str(error):
            return False
        raise


def _key(number: str) -> tuple[int, int]:
    job, _, element = number.partition("_")
    return int(job), int(element) if element.isdecimal() else 0
