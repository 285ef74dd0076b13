"""`penstock <command>`: finds the command's module and runs it. Imports nothing that the command does not need."""

import importlib
import os
import sys
from collections.abc import Sequence

from penstock.protocol.version import __version__
from penstock.terminal.interrupts import interrupted

#: Command: (module with `main(arguments) -> exit status`, what it is for).
COMMANDS = {
    "check": ("penstock.commands.check", "print what a spec would do: items, batches, schema, memory, order"),
    "bench": ("penstock.bench.command", "time a stream with 0, 1, 2 … workers; a report with pictures"),
    "demo": ("penstock.demo.command", "train a small Keras model on generated or your own images"),
    "preview": ("penstock.commands.preview", "draw a stream's first samples on a contact sheet"),
    "view": ("penstock.commands.view", "draw what a running sink holds on a contact sheet"),
    "write": ("penstock.commands.write", "write a stream to an HDF5 file, to train from without workers"),
    "inspect": ("penstock.commands.inspect", "say what an HDF5 file holds, and draw its samples"),
    "up": ("penstock.commands.up", "run a supervised stack on this machine"),
    "status": ("penstock.commands.status", "show what a running stack does, and what limits it"),
    "quarantine": ("penstock.commands.quarantine", "list what could not be made into samples, and why"),
    "trace": ("penstock.trace.command", "join recorded traces into a file for the Perfetto viewer"),
    "keys": ("penstock.commands.keys", "make, list, hand out and revoke keys: encryption, and who may connect"),
    "ventilator": ("penstock.ventilator.service", "service: hand out tasks"),
    "worker": ("penstock.worker.service", "service: decode and transform images"),
    "sink": ("penstock.sink.service", "service: restore order and forward batches"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0 done, 2 wrong usage or an error in words, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if given else 2
    if given[0] in ("-V", "--version"):
        print(f"penstock {__version__}")
        return 0
    if given[0] not in COMMANDS:
        print(f"penstock: no command {given[0]!r}\n\n{_usage()}", file=sys.stderr)
        return 2
    try:
        status: int = importlib.import_module(COMMANDS[given[0]][0]).main(given[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        return interrupted()
    except BrokenPipeError:  # whoever read our output has enough, as `head` does; nothing may be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _usage() -> str:
    lines = [f"  {name:<12}{text}" for name, (_, text) in COMMANDS.items()]
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
