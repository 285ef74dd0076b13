"""Becomes a rank's program: `python -m penstock.launcher.slurm.rank FOLDER VENTILATOR COMMAND...`.

Tells it where the sink of its node is, as soon as that is known.
"""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from penstock.launcher.slurm.plan import NodeSink, RunFolder
from penstock.protocol.errors import DeadlineError, PenstockError, SpecError

#: Longest wait (s) for the step of the node's services to begin, and how often to look.
_WAIT_S, _LOOK_S = 300.0, 0.1


def sink_of(folder: RunFolder, node: str, ventilator: str) -> NodeSink:
    """Return where the sink of a node is, in this start of the job. Raises DeadlineError."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        with suppress(SpecError):  # not written yet
            placed = NodeSink.read(folder.sink(node))
            if placed.ventilator == ventilator:
                return placed
        if time.monotonic() > deadline:
            raise DeadlineError(
                f"waited {_WAIT_S:.0f} s for the sink of {node}: {folder.logs / node} and the job's log say more"
            )
        time.sleep(_LOOK_S)


def main(arguments: Sequence[str]) -> int:
    """Become the program; return the exit status if that cannot be."""
    folder, ventilator, *command = arguments
    try:
        os.environ["PENSTOCK_SINK"] = sink_of(RunFolder(folder), os.environ["SLURMD_NODENAME"], ventilator).trainers
        os.execvp(command[0], command)  # noqa: S606 - the user's own command
    except PenstockError as error:
        print(f"penstock slurm: {error}", file=sys.stderr)
    except OSError as error:
        print(f"penstock slurm: cannot run {command[0]!r}: {error.strerror}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
