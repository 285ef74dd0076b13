"""`penstock status`: the state of a running stack on a terminal, as on the dashboard: once, or live.

Asks the ventilator every second, and keeps the last answer on the screen when the ventilator stops answering.
`status_display.py` turns a snapshot into tables.
"""

import json
import sys
import time
from collections.abc import Sequence

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.live import Live

from penstock.commands.status_display import picture
from penstock.observe.absent import check_present
from penstock.observe.http_client import WebOnlooker
from penstock.observe.status_client import Onlooker
from penstock.protocol.errors import DeadlineError, SpecError
from penstock.protocol.event_log import in_order, parse_task_name
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.transport.own_sockets import OWN_VENTILATOR, Addresses
from penstock.terminal.console import PlainConsole
from penstock.terminal.spinner import waiting

#: Seconds between two updates, and the longest wait for an update after the first.
_EVERY_S, _PATIENCE_S = 1.0, 3.0


class AddressSettings(Settings):
    """Options of every command that asks a running ventilator."""

    keys: str = ""
    """Key folder with a trainer's key, if the stack uses keys."""
    wait_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds to wait for an answer."""


class StatusSettings(AddressSettings):
    """Shows what limits a running stack, its flow, streams, workers and failures."""

    address: CliPositionalArg[Addresses] = OWN_VENTILATOR
    """Address of the ventilator, such as tcp://host:5555, or of its dashboard, http://127.0.0.1:5550; default: the
    ventilator that this user runs here."""
    json_: bool = Field(default=False, alias="json")
    """Print JSON."""
    once: bool = False
    """Print the status once and exit. Without this option, a terminal shows it live."""
    story: str = ""
    """Print instead what happened to one task lately: stream/ordinal, as in train/17, or train/17.2 for its third item.
    The ventilator also asks all workers, the sink and the stream's trainers for what they remember of it."""


def open_onlooker(address: str, settings: AddressSettings) -> Onlooker | WebOnlooker:
    """Return a client for an address of either kind. Raises SpecError, and StackError if surely no stack is there."""
    if address.startswith(("http:", "https:")):
        return WebOnlooker(address, settings.wait_s)
    check_present(address, "ventilator")
    return Onlooker(address, settings.keys, settings.wait_s)


def ask(onlooker: Onlooker | WebOnlooker, ledger: int = 20) -> Snapshot:
    """Return the first snapshot, with up to `ledger` quarantined items; meanwhile, a terminal shows a spinner."""
    with waiting(f"asking {onlooker.address.partition('?')[0]}"):  # the rest may hold a token
        return onlooker.look(ledger)


def serve(settings: StatusSettings) -> int:
    """Ask, print; return the exit status."""
    console = PlainConsole()
    if settings.story:
        return _tell(settings, console)
    with open_onlooker(settings.address, settings) as onlooker:
        snapshot = ask(onlooker)
        if settings.json_:
            print(json.dumps(snapshot.model_dump(mode="json"), indent=2))
        elif settings.once or not console.is_terminal:
            console.print(picture(snapshot, settings.address))
        else:
            _watch(console, onlooker, snapshot)
    return 0


def _tell(settings: StatusSettings, console: Console) -> int:
    """Print the story of one task; return the exit status, 1 if no process remembers anything of it."""
    key = parse_task_name(settings.story)
    with open_onlooker(settings.address, settings) as onlooker:
        if isinstance(onlooker, WebOnlooker):
            raise SpecError(f"--story needs the ventilator's own address, tcp:// or ipc://, not {settings.address!r}")
        snapshot = onlooker.look(0, key)
    told = in_order(snapshot.story)
    silent = [f"{part.service}: not included ({part.missing})" for part in snapshot.story if part.missing]
    if settings.json_:
        print(json.dumps([{"service": name, **event.model_dump(mode="json")} for name, event in told], indent=2))
        print(*silent, sep="\n", end="\n" if silent else "", file=sys.stderr)
        return 0 if told else 1
    width = max((len(name) for name, _ in told), default=0)
    lines = [f"{name:{width}} {event}" for name, event in told]
    if not told:
        streams = ", ".join(stream.name for stream in snapshot.streams)
        lines = [f"no process remembers an event of {settings.story}; the streams are: {streams}"]
    console.print("\n".join(lines + silent), markup=False, highlight=False, soft_wrap=True)
    return 0 if told else 1


def _watch(console: Console, onlooker: Onlooker | WebOnlooker, snapshot: Snapshot) -> None:
    """Show it live, until Ctrl-C; a ventilator that is gone may come back."""
    onlooker.timeout_s = _PATIENCE_S
    heard = time.monotonic()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            silent_s = time.monotonic() - heard
            room = console.size.height - 1
            live.update(picture(snapshot, onlooker.address, room, silent_s if silent_s > _PATIENCE_S else 0.0))
            live.refresh()
            due = time.monotonic() + _EVERY_S
            try:
                snapshot = onlooker.look()
                heard = time.monotonic()
            except DeadlineError:  # shown as such, and asked again
                pass
            time.sleep(max(0.0, due - time.monotonic()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock status`."""
    return run(StatusSettings, serve, "status", arguments)


if __name__ == "__main__":
    sys.exit(main())
