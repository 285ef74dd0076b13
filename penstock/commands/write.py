"""`penstock write`: a stream into an HDF5 file, by a stack on this machine that ends when the file is finished.

This module runs the stack and shows the progress; the sink writes the file.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from penstock.commands.write_display import Display, summary
from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import SpecError, StackError
from penstock.protocol.runtime.health import query
from penstock.protocol.runtime.printable import say
from penstock.protocol.runtime.service import run
from penstock.protocol.spec.spec import Spec, load_spec, parse_spec
from penstock.sink.output.options import WriterOptions
from penstock.terminal.interrupts import Interrupts, interrupted

#: How often the sink is asked for its progress (s).
_LOOK_S = 0.25


class WriteSettings(WriterOptions):
    """Writes a stream to an HDF5 file, to train from later without any worker."""

    model_config = SettingsConfigDict(cli_shortcuts={"output": "o"})

    spec: CliPositionalArg[str]
    """Path of the spec (TOML)."""
    layout: Literal["fields", "per-manipulation"] = "fields"
    """`per-manipulation`: one image data set for each manipulation of the same patches, as
    `manipulations.every = true` in the spec."""
    workers: int | None = Field(default=None, ge=1)
    """Number of worker processes; default: one per core."""
    root: dict[str, str] = Field(default_factory=dict)
    """NAME=FOLDER: the folder of one of the spec's roots on this host. May be given several times."""
    force: bool = False
    """Remove what Penstock has written under this name, finished or not, and begin anew; other files are left alone."""
    run_dir: str | None = None
    """Folder for logs and the quarantine ledger; default: none are kept."""


def serve(settings: WriteSettings) -> int:
    """Write the file; return the exit status."""
    if not settings.output:
        raise SpecError("give a file to write: -o patches.h5")
    spec = _spec(settings)
    _prepare(settings)
    interrupts = Interrupts()
    stack = LocalStack(
        spec,
        workers=settings.workers,
        roots=spec.known_roots(settings.root),
        run_dir=settings.run_dir,
        options={"sink": _sink(settings)},
        warn=lambda text: say(f"penstock write: warning: {text}"),
    )
    try:
        with ExitStack() as cleanup, interrupts.armed():
            cleanup.enter_context(stack)
            display = cleanup.enter_context(Display(settings.output))
            final = _follow(stack, display)
    except KeyboardInterrupt:
        print(
            f"\npenstock write: stopped; {settings.output} can be read as far as it is, and the same command goes on",
            file=sys.stderr,
        )
        return interrupted(interrupts.status)
    say(summary(final, display.elapsed_s, display.found))
    return 0


def _follow(stack: LocalStack, display: Display) -> dict[str, Any]:
    """Show the sink's progress until it is done; return its last status. Raises StackError."""
    address = str(stack.run_dir.absolute() / "sink.health")
    while True:
        if stack.error is not None:
            raise StackError(str(stack.error))
        writer = query(address).get("writer") or {}
        state = writer.get("state")
        if state == "stopped":
            raise StackError(
                f"{writer['why']}. The file can be read as far as it is written; the same command continues from there"
            )
        if state == "finished":
            return writer
        display.show(writer)
        time.sleep(_LOOK_S)


def _spec(settings: WriteSettings) -> Spec:
    """Return the spec with the one stream that is written."""
    spec = load_spec(settings.spec)
    spec.map_roots(settings.root)  # refuses names of roots that no stream has
    if settings.stream not in spec.streams:
        raise SpecError(f"--stream {settings.stream!r}: no such stream; there are: {', '.join(spec.streams)}")
    spec = spec.model_copy(update={"streams": {settings.stream: spec.streams[settings.stream]}})
    if settings.layout == "fields":
        return spec
    manipulations = spec.streams[settings.stream].transform.manipulations
    if manipulations is None:
        raise SpecError(f"--layout per-manipulation: stream {settings.stream!r} has no manipulations")
    data = spec.model_dump(mode="json", exclude_unset=True)  # the launcher sets the fields that are not given
    data["streams"][settings.stream]["transform"]["manipulations"] = manipulations.all_shown().model_dump(mode="json")
    return parse_spec(data, name=settings.spec)


def _sink(settings: WriteSettings) -> dict[str, Any]:
    """Return the sink's options."""
    given = {name: getattr(settings, name) for name in WriterOptions.model_fields if name != "config"}
    given["output"] = str(Path(settings.output).absolute())
    return {"writer": "hdf5", "full_disk_wait_s": 0.0} | {
        name: value for name, value in given.items() if value is not None
    }


def _prepare(settings: WriteSettings) -> None:
    from penstock.sink.output.writer_thread import check_place, discard  # noqa: PLC0415 - needs h5py, and says so

    check_place(settings.output)
    if settings.force:
        discard(settings.output)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock write`."""
    return run(WriteSettings, serve, "write", arguments)


if __name__ == "__main__":
    sys.exit(main())
