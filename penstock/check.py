"""`penstock check`: what a spec would do, before it does it."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.table import Table

from penstock.protocol.errors import SpecError
from penstock.protocol.messages import TaskKey
from penstock.protocol.order import Geometry
from penstock.protocol.service import run
from penstock.protocol.settings import Settings
from penstock.protocol.spec import load_spec
from penstock.ventilator.book import TaskBook

#: Positions of each epoch's order that are shown.
_SHOWN = 5
#: Bytes of a decoded image that a worker holds beside its tasks; assumes 12 MP, `max_megapixels` allows more.
_DECODED_BYTES = 12_000_000 * 3
#: Bytes of a service without any samples: interpreter and libraries, as measured on Linux.
_PROGRAM_BYTES = 80_000_000
#: Tasks of a worker whose samples exist: one that is made, and those queued towards the sink.
_TASKS_MADE = 5


class CheckSettings(Settings):
    """Prints items, classes, samples and batches an epoch, the schema, a memory bound and a sample of the order."""

    spec: CliPositionalArg[str]
    """Path of the spec (TOML)."""
    root: dict[str, str] = Field(default_factory=dict)
    """name=/path: where a root of the spec lies on this host."""
    stream: str | None = None
    """Only this stream."""
    workers: int = Field(default=1, ge=0)
    """Workers to count memory for."""
    world_size: int = Field(default=1, ge=1)
    """Trainers that share the stream."""
    prefetch: int = Field(default=4, ge=1)
    """Batches that each trainer asks for ahead."""
    json_: bool = Field(default=False, alias="json")
    """Print JSON instead of tables."""


def describe(book: TaskBook, stream: str, settings: CheckSettings) -> dict[str, Any]:
    """Return all that is known of one stream; memory in MB (10^6 bytes)."""
    [plan] = [plan for plan in book.plans if plan.name == stream]
    geometry, size = plan.geometry, plan.sample_bytes
    task_bytes = geometry.task_items * geometry.patches * size
    window = (plan.window(settings.world_size) + 2 * geometry.block_samples) * size
    trainers = settings.world_size * (settings.prefetch + 2) * plan.settings.batch_size * size
    workers = settings.workers * (_TASKS_MADE * task_bytes + _DECODED_BYTES)
    programs = (2 + settings.workers) * _PROGRAM_BYTES
    memory = {
        "sink: window and two blocks": window,
        f"trainers: {settings.world_size} × ({settings.prefetch} + 2) batches": trainers,
        f"workers: {settings.workers} × ({_TASKS_MADE} tasks and a decoded 12 MP image)": workers,
        f"programs: ventilator, sink, {settings.workers} workers × 80 MB": programs,
        "sum": window + trainers + workers + programs,
    }
    return {
        "stream": stream,
        "fingerprint": plan.fingerprint,
        "items": plan.items,
        "classes": book.listing(stream).counts(),
        "samples_per_epoch": geometry.samples_per_epoch,
        "batches_per_epoch": plan.batches_per_epoch(settings.world_size),
        "tasks_per_epoch": geometry.tasks_per_epoch,
        "items_per_task": geometry.task_items,
        "schema": [field.model_dump() | {"bytes": field.sample_bytes} for field in plan.schema],
        "memory_mb": {name: round(count / 1e6, 1) for name, count in memory.items()},
        "order": [entry for epoch in (0, 1) for entry in _order(book, stream, geometry, epoch)],
    }


def _order(book: TaskBook, stream: str, geometry: Geometry, epoch: int) -> list[dict[str, Any]]:
    """Return the samples at the first positions of an epoch."""
    start = epoch * geometry.samples_per_epoch
    wanted = range(start, start + min(_SHOWN, geometry.samples_per_epoch))
    found = []
    for ordinal in range(*geometry.tasks_between(wanted.start, wanted.stop)):
        items = book.task(TaskKey(stream=stream, ordinal=ordinal), 0).items
        for item, positions in zip(items, geometry.positions(ordinal).tolist(), strict=True):
            for patch, position in enumerate(positions):
                if position in wanted:
                    found.append(
                        {"epoch": epoch, "position": position, "path": item.path, "label": item.label, "patch": patch}
                    )
    return sorted(found, key=lambda entry: entry["position"])


def show(console: Console, told: dict[str, Any]) -> None:
    """Print one stream."""
    facts = Table(title=f"stream {told['stream']!r}", show_header=False, title_justify="left")
    for key in ("items", "samples_per_epoch", "batches_per_epoch", "tasks_per_epoch", "items_per_task", "fingerprint"):
        facts.add_row(key.replace("_", " "), f"{told[key]:,}" if isinstance(told[key], int) else told[key])
    console.print(facts)
    console.print(
        _table("classes", ("label", "class", "items"), [(n, *pair) for n, pair in enumerate(told["classes"].items())])
    )
    rows = [(field["name"], field["dtype"], tuple(field["shape"]), f"{field['bytes']:,}") for field in told["schema"]]
    console.print(_table("schema of a sample", ("field", "dtype", "shape", "bytes"), rows))
    console.print(
        _table("memory, at most", ("where", "MB"), [(name, f"{mb:,.1f}") for name, mb in told["memory_mb"].items()])
    )
    order = [tuple(entry.values()) for entry in told["order"]]
    console.print(_table("first samples", ("epoch", "position", "path", "label", "patch"), order))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


def serve(settings: CheckSettings) -> int:
    """List the sources and print; return the exit status."""
    spec = load_spec(settings.spec)
    if settings.stream is not None and settings.stream not in spec.streams:
        raise SpecError(f"--stream {settings.stream!r}: no such stream; there are: {', '.join(spec.streams)}")
    book = TaskBook.open(spec, spec.roots | settings.root)
    told = [describe(book, name, settings) for name in spec.streams if settings.stream in (None, name)]
    if settings.json_:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        for stream in told:
            show(Console(), stream)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock check`."""
    return run(CheckSettings, serve, "check", arguments)


if __name__ == "__main__":
    sys.exit(main())
