"""`penstock inspect`: prints the content of an HDF5 file as tables or JSON, and draws a contact sheet.

It starts no process and writes no file but the sheet. `inspect_file.py` reads the file.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import AliasChoices, Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.table import Table

from penstock.contact_sheet.samples import MOST, save
from penstock.contact_sheet.sheet import check_output
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.terminal.console import PlainConsole
from penstock.terminal.spinner import waiting
from penstock.terminal.words import several

#: Classes and quarantined items that are shown; JSON has all.
_SHOWN, _LOST = 20, 5


class InspectSettings(Settings):
    """Prints an HDF5 file's fields and their storage, its classes, its quarantined items and its spec."""

    file: CliPositionalArg[str]
    """Path of the HDF5 file; if the output has shards, the path of the main file that refers to them."""
    output: str | None = Field(default=None, validation_alias=AliasChoices("o", "output"))
    """Path of a contact sheet of samples to draw as well; its suffix is .png, .jpg or .webp."""
    count: int = Field(default=24, ge=1, le=MOST)
    """Number of samples on the sheet; they are spread evenly over the file."""
    side: int = Field(default=256, ge=16, le=2048)
    """Longest side (pixels) at which an image is drawn, as for `penstock preview`."""
    json_: bool = Field(default=False, alias="json")
    """Print JSON instead of tables."""
    allow_outside: bool = False
    """Follow links, and parts of virtual data sets, that lead out of the file's folder."""


def show(console: Console, told: Mapping[str, Any]) -> None:
    """Print the tables."""
    console.rule(told["file"], align="left")
    facts = Table.grid(padding=(0, 2))
    for key, value in _facts(told):
        facts.add_row(key, value)
    console.print(facts)
    console.print()
    fields = [
        (
            field["name"],
            field["dtype"],
            "" if field["rows"] is None else f"{field['rows']:,}",
            str(tuple(field["shape"])) if field["shape"] else "",
            f"{field['chunk_rows']:,} rows" if field["chunk_rows"] else "one piece",
            field["compression"],
            f"{field['stored_bytes'] / 1e6:,.2f}",
            f"{field['ratio']:.2f}" if field["ratio"] else "",
        )
        for field in told["fields"]
    ]
    head = ("field", "dtype", "rows", "shape", "chunks", "compression", "MB stored", "ratio")
    _print(console, "fields", head, fields)
    for title, key in (
        ("class", "classes"),
        ("epoch", "samples_by_epoch"),
        ("manipulation", "samples_by_manipulation"),
    ):
        _print_counts(console, title, told[key])
    lost = [
        (str(entry.get("epoch", "")), str(entry.get("path", entry.get("item", ""))), str(entry.get("reason", "")))
        for entry in told["quarantined"]
    ]
    if lost:
        _print(console, f"quarantined: {several(len(lost), 'item')}", ("epoch", "item", "reason"), _some(lost, _LOST))


def _facts(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts about the file as a whole."""
    progress = told["progress"]
    of = f" of {progress['of']:,}" if progress["of"] else ""
    written = (
        "complete"
        if progress["complete"]
        else f"incomplete: {progress['positions']:,}{of} positions; the same `penstock write` command goes on"
    )
    by = f"Penstock {told['penstock_version']}, format {told['format']}" if told["format"] else "not Penstock"
    parts = f"{told['bytes'] / 1e6:,.2f} MB" + (f" in {len(told['parts']) + 1:,} files" if told["parts"] else "")
    rows = [("written by", by), ("size", parts), ("samples", f"{told['samples']:,}")]
    if told["format"]:
        rows += [("state", written), ("stream", told["stream"]), ("epochs", str(told["epochs"]))]
        rows += [("seed", str(told["seed"])), ("fingerprint", told["fingerprint"])]
    rows += _spec(told["spec"])
    return rows


def _spec(spec: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - of JSON
    """Return the stream's spec, a line a part."""
    parts = spec if isinstance(spec, dict) else {} if spec is None else {"unknown": spec}
    return [(f"spec: {key}", _short(value)) for key, value in parts.items()]


def _short(value: Any) -> str:  # noqa: ANN401 - of JSON
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_short(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _print_counts(console: Console, title: str, counts: Mapping[str, int]) -> None:
    total = max(1, sum(counts.values()))
    rows = [(name, f"{count:,}", f"{100 * count / total:.1f} %") for name, count in counts.items()]
    if rows:
        _print(console, "", (title, "samples", "share"), _some(rows))


def _some(rows: Sequence[tuple[str, ...]], most: int = _SHOWN) -> list[tuple[str, ...]]:
    more = len(rows) - most
    return list(rows) if more <= 0 else [*rows[:most], ("…", f"{more:,} more", *[""] * (len(rows[0]) - 2))]


def _print(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column, justify="right" if column in ("rows", "MB stored", "ratio", "samples", "share") else "left"
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()


def serve(settings: InspectSettings) -> int:
    """Read the file, print, draw; return the exit status."""
    from penstock.commands.inspect_file import Inspected  # noqa: PLC0415 - h5py is an extra, and its absence has an error message

    target = None if settings.output is None else check_output(settings.output)
    inspected = Inspected(settings.file, allow_outside=settings.allow_outside)
    try:
        with waiting(f"reading {settings.file}"):
            told = inspected.describe()
        if settings.json_:
            print(json.dumps(told, indent=2, ensure_ascii=False))
        else:
            show(PlainConsole(), told)
        if target is not None:
            from penstock.commands.inspect_sheet import draw_file  # noqa: PLC0415 - as above

            said = save(draw_file(inspected, settings.count, settings.side), target)
            print(said, file=sys.stderr if settings.json_ else sys.stdout)
    finally:
        inspected.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock inspect`."""
    return run(InspectSettings, serve, "inspect", arguments)


if __name__ == "__main__":
    sys.exit(main())
