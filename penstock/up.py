"""`penstock up`: a supervised stack on this machine, in the foreground, for trainers that connect to it."""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from pydantic import Field
from pydantic_settings import CliPositionalArg

from penstock.interrupts import Interrupts
from penstock.protocol.service import run
from penstock.protocol.settings import Settings
from penstock.stack import Addresses, LocalStack

#: How often the stack's state is looked at (s).
_LOOK_S = 0.2


class UpSettings(Settings):
    """Runs ventilator, sink and workers on this machine until Ctrl-C."""

    spec: CliPositionalArg[str]
    """Path of the spec (TOML)."""
    workers: int | None = Field(default=None, ge=0)
    """Worker processes; default: one a core."""
    root: dict[str, str] = Field(default_factory=dict)
    """name=/path: where a root of the spec lies on this host."""
    run_dir: str | None = None
    """Folder for logs and the quarantine ledger; default: logs go to the terminal."""
    ventilator: str = "tcp://127.0.0.1:5555"
    """Address for workers."""
    results: str = "tcp://127.0.0.1:5556"
    """Address for results."""
    trainers: str = "tcp://127.0.0.1:5557"
    """Address for trainers: what `penstock.connect` is given."""
    keys: str = ""
    """Key folder, made by `penstock keys init`; trainers need it too."""
    insecure: bool = False
    """Listen without keys also where other hosts can connect: only on a network where everybody is trusted."""


def serve(settings: UpSettings) -> int:
    """Run the stack until SIGINT or SIGTERM; return the exit status."""
    interrupts = Interrupts()
    stack = LocalStack(
        settings.spec,
        workers=settings.workers,
        roots=settings.root,
        run_dir=settings.run_dir,
        addresses=Addresses(settings.ventilator, settings.results, settings.trainers),
        options={name: {"insecure": settings.insecure} for name in ("ventilator", "sink")},
        inherit_logs=settings.run_dir is None,
        keys=settings.keys,
    )
    with suppress(KeyboardInterrupt), ExitStack() as cleanup, interrupts.armed():
        cleanup.enter_context(stack)
        print(f"penstock up: {stack.workers} workers; trainers connect to {stack.address}; Ctrl-C stops", flush=True)
        while stack.error is None:
            time.sleep(_LOOK_S)
        raise stack.error
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock up`."""
    return run(UpSettings, serve, "up", arguments)


if __name__ == "__main__":
    sys.exit(main())
