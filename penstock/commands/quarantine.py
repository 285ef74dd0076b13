"""`penstock quarantine`: lists the items that could not be made into samples, with reasons.

Reads them from a running stack or from a ledger's file, and groups them by reason.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.text import Text

from penstock.commands.status import AddressSettings, ask, open_onlooker
from penstock.protocol import ranges as epoch_ranges
from penstock.protocol.errors import SourceError
from penstock.protocol.runtime.printable import printable
from penstock.protocol.runtime.service import run
from penstock.protocol.stats import LEDGER_KEPT
from penstock.protocol.transport.own_sockets import OWN_VENTILATOR, Addresses
from penstock.terminal.console import PlainConsole
from penstock.terminal.words import several

#: Parts of a reason that differ from file to file: quoted bytes and numbers.
_VARIES = re.compile(r"b?'(?:[^'\\]|\\.)*'|\d[\d,.]*")
_FIELDS = ("stream", "epoch", "item", "path", "reason", "attempts")
#: Most epochs that one line may list.
_MOST_EPOCHS = 1_000_000
_SCHEMES = ("tcp://", "ipc://", "http://", "https://")


class QuarantineSettings(AddressSettings):
    """Lists quarantined items by reason."""

    source: CliPositionalArg[Addresses] = OWN_VENTILATOR
    """Address of the ventilator, such as tcp://host:5555, or path of a ledger (quarantine.jsonl in the run folder);
    default: the ventilator that this user runs here."""
    json_: bool = Field(default=False, alias="json")
    """Print JSON."""


@dataclass(slots=True)
class Item:
    """One item of a stream with all its failures for one reason."""

    stream: str
    path: str
    item: int
    reason: str
    #: Epochs in which it failed, in order.
    epochs: list[int]
    #: Most attempts within one epoch, and the worker that tried last.
    attempts: int
    worker: str


def read_ledger(path: Path) -> list[Mapping[str, Any]]:
    """Return the lines of a ledger's file; a last one without an end is torn, and left out. Raises SourceError."""
    try:
        lines = path.read_bytes().split(b"\n")  # a name may hold what ends a line of text, such as U+2028
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read: {error.strerror}; give a ledger's file, or the ventilator's address"
        ) from error
    found: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            entry = json.loads(line)
            known = {"worker": entry.get("worker", ""), "also": _epochs(entry.get("also", ()))}
            found.append({name: entry[name] for name in _FIELDS} | known)
        except (KeyError, TypeError, ValueError) as error:
            quoted = line[:80].decode(errors="replace")
            raise SourceError(f"{path}, line {number}: {quoted!r} is no line of a ledger ({error})") from error
    return found


def _epochs(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """Return the epochs in [start, stop) ranges. Raises ValueError if they are none, or too many."""
    found = tuple((start, stop) for start, stop in ranges)
    if not epoch_ranges.is_normal(found) or epoch_ranges.size(found) > _MOST_EPOCHS:
        raise ValueError(f"{found} are no ascending ranges of epochs, {_MOST_EPOCHS:,} at most")
    return list(epoch_ranges.members(found))


def merge(lines: Iterable[Mapping[str, Any]]) -> list[Item]:
    """Return one entry for every item and reason: in each epoch an item fails anew."""
    found: dict[tuple[Any, ...], Item] = {}
    for line in lines:
        key = (line["stream"], line["item"], line["reason"])
        item = found.setdefault(
            key, Item(line["stream"], line["path"], line["item"], line["reason"], [], 0, line["worker"])
        )
        item.epochs = sorted({*item.epochs, line["epoch"], *line.get("also", ())})
        item.attempts = max(item.attempts, line["attempts"])
    return list(found.values())


def group(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Return items by reason, the most frequent first; reasons that differ in numbers and quotes are one."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(_VARIES.sub("…", item.reason), []).append(item)
    ordered = sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return {
        members[0].reason if len({each.reason for each in members}) == 1 else reason: members
        for reason, members in ordered
    }


def serve(settings: QuarantineSettings) -> int:
    """Ask the ventilator or read the ledger, and print; return the exit status."""
    total = 0
    if settings.source.startswith(_SCHEMES):
        with open_onlooker(settings.source, settings) as onlooker:
            snapshot = ask(onlooker, LEDGER_KEPT)
        lines: list[Mapping[str, Any]] = [line.model_dump() for line in reversed(snapshot.ledger)]
        total = snapshot.sink.quarantined if snapshot.sink else 0
    else:
        lines = read_ledger(Path(settings.source))
    items = merge(lines)
    if settings.json_:
        print(json.dumps([asdict(item) for item in items], indent=2))
        return 0
    _show(PlainConsole(), items)
    if total > len(lines):
        print(
            f"\n{len(lines):,} of {total:,} failures are known here: the newest; the sink's --quarantine file has all"
        )
    return 0


def _show(console: Console, items: Sequence[Item]) -> None:
    if not items:
        console.print("nothing is quarantined", soft_wrap=True)
        return
    for index, (reason, members) in enumerate(group(items).items()):
        if index:
            console.print()
        console.print(
            Text.assemble((several(len(members), "item"), "bold red"), f": {printable(reason)}"), soft_wrap=True
        )
        for item in members:
            console.print(Text.assemble(f"  {printable(item.path)}", ("  " + _facts(item), "dim")), soft_wrap=True)


def _facts(item: Item) -> str:
    first, last = item.epochs[0] + 1, item.epochs[-1] + 1
    epochs = f"epoch {first}" if first == last else f"{len(item.epochs)} times in epochs {first} to {last}"
    tries = [several(item.attempts, "attempt")] if item.attempts > 1 else []
    return ", ".join(filter(None, [printable(item.stream), epochs, *tries, printable(item.worker)]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock quarantine`."""
    return run(QuarantineSettings, serve, "quarantine", arguments)


if __name__ == "__main__":
    sys.exit(main())
