"""`penstock <command>`: lists the commands, and runs the one that was asked for.

A command is one module with `main(arguments) -> exit status`, imported only when it runs. CONTRIBUTING.md, "Add a
command", lists what belongs to one.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from penstock.launcher.spare import prepare
from penstock.protocol.runtime.streams import give_output_up, open_standard_streams
from penstock.protocol.version import __version__
from penstock.terminal.interrupts import held, interrupted


class Command(NamedTuple):
    """A line of the table of commands."""

    #: The module with `main(arguments) -> exit status`.
    module: str
    #: Its line in `penstock --help`.
    purpose: str


#: Every command, in the order of `penstock --help`.
COMMANDS = {
    "init": Command("penstock.commands.init", "write a commented spec for a folder of images or a manifest"),
    "check": Command("penstock.commands.check", "summarise a spec: items, batches, schema, memory, order"),
    "bench": Command("penstock.bench.command", "time a stream with 0, 1, 2 … workers; a report with pictures"),
    "plan": Command("penstock.commands.planning.command", "tell how many workers and sinks a large job needs"),
    "demo": Command("penstock.demo.command", "train a small Keras model on generated or your own images"),
    "preview": Command("penstock.commands.preview", "draw a stream's first samples on a contact sheet"),
    "view": Command("penstock.commands.view", "draw the samples in a running sink on a contact sheet"),
    "write": Command("penstock.commands.write", "write a stream to an HDF5 file, to train from without workers"),
    "convert": Command("penstock.commands.convert", "write a source's images into tar shards or Parquet files"),
    "inspect": Command("penstock.commands.inspect", "describe an HDF5 file, and draw its samples"),
    "up": Command("penstock.commands.up", "run a supervised stack on this machine"),
    "status": Command("penstock.commands.status", "show the state of a running stack, and its bottleneck"),
    "autoscale": Command("penstock.commands.autoscale", "run a command whenever another number of workers is needed"),
    "slurm": Command("penstock.commands.engines.slurm", "submit a Slurm job that trains from a stack of its own"),
    "slurm-workers": Command("penstock.commands.engines.slurm_workers", "set the number of workers of a Slurm job"),
    "quarantine": Command("penstock.commands.quarantine", "list the items that failed, and why"),
    "trace": Command("penstock.trace.command", "join recorded traces into a file for the Perfetto viewer"),
    "doctor": Command("penstock.commands.doctor", "check this machine: versions, decoders, memory, limits, ports"),
    "keys": Command("penstock.commands.keys", "create, list, export and revoke keys for encryption and access"),
    "ventilator": Command("penstock.ventilator.service", "service: hand out tasks"),
    "worker": Command("penstock.worker.service", "service: decode and transform images"),
    "sink": Command("penstock.sink.service", "service: restore order and forward batches"),
}

#: Those that start a stack in any case.
_WITH_STACK = ("demo", "up", "write")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0 done, 2 wrong usage or an error, 130 interrupted."""
    open_standard_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return interrupted()
    except OSError as error:
        if not _output_fails():
            raise
        give_output_up()
        if not isinstance(error, BrokenPipeError):  # the reader of a pipe, such as `head`, may leave when it has enough
            print(f"penstock: standard output: {error.strerror}", file=sys.stderr)
        return 1
    return status


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if given else 2
    if given[0] in ("-V", "--version"):
        print(f"penstock {__version__}")
        return 0
    if given[0] not in COMMANDS:
        print(f"penstock: no command {given[0]!r}\n\n{_usage()}", file=sys.stderr)
        return 2
    if given[0] in _WITH_STACK and not {"-h", "--help"} & {*given}:
        prepare()  # it imports what services need while this process imports the command
    with held():
        command = importlib.import_module(COMMANDS[given[0]].module)
    status: int = command.main(given[1:])
    return status


def _output_fails() -> bool:
    """Return whether standard output cannot be written to: a line end more does no harm where it can."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _usage() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{command.purpose}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: penstock <command> [options]",
            "",
            *lines,
            "",
            "`penstock <command> --help` lists a command's options.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
