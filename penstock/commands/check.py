"""`penstock check`: prints a spec's sizes, schema, memory bound and order before it runs.

Prints tables for people, or JSON. It starts no process: it lists the source, reads the headers of a few files, decodes
a few to compare the time with that of reading them, and makes a few samples with and without a cache.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.table import Table

from penstock.commands.checking.cache_estimate import estimate_cache
from penstock.commands.checking.cache_gain import measure_gain
from penstock.commands.checking.memory_estimate import Term, Use, estimate, look_at, total
from penstock.commands.converting.advice import time_reading
from penstock.launcher.links import follow_links
from penstock.protocol.errors import SpecError
from penstock.protocol.messages import TaskKey
from penstock.protocol.plan import StreamPlan, schema_before
from penstock.protocol.runtime.cores import usable_cores
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.spec.sequences.step_list import list_steps
from penstock.protocol.spec.spec import load_spec
from penstock.sources.choice.mixture import MixtureSource
from penstock.terminal.console import PlainConsole
from penstock.terminal.spinner import waiting
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging import partial_jpeg
from penstock.worker.imaging.custom import CustomTransforms

#: Samples of each epoch's order, and classes, that are shown; JSON has all the classes.
_SHOWN, _CLASSES = 5, 20


class CheckSettings(Settings):
    """Prints the numbers of items, classes, samples and batches, the schema, a memory bound and part of the order."""

    spec: CliPositionalArg[str]
    """Path of the spec (TOML)."""
    root: dict[str, str] = Field(default_factory=dict)
    """NAME=FOLDER: the folder of one of the spec's roots on this host. May be given several times."""
    stream: str | None = None
    """Name of the one stream to check; default: all streams."""
    workers: int | None = Field(default=None, ge=0)
    """Number of workers in the memory estimate; default: one per core."""
    world_size: int = Field(default=1, ge=1)
    """Number of trainers that share each stream."""
    prefetch: int | None = Field(default=None, ge=1)
    """Number of batches that each trainer prefetches; default: 4, or about 64 MB of small batches."""
    json_: bool = Field(default=False, alias="json")
    """Print JSON instead of tables."""


def describe(catalog: Catalog, plan: StreamPlan, world_size: int) -> dict[str, Any]:
    """Return the facts about one stream, without memory. Raises SpecError if it can never give a batch."""
    geometry, settings = plan.geometry, plan.settings
    if not (batches := plan.batches_per_epoch(world_size)):
        raise SpecError(
            f"stream {plan.name!r} never gives a batch: {geometry.samples_per_epoch} samples an epoch, batch_size = "
            f"{settings.batch_size}, drop_remainder = {str(settings.drop_remainder).lower()}, {world_size} trainer(s); "
            "make batch_size or the number of trainers smaller"
        )
    return {
        "stream": plan.name,
        "fingerprint": plan.fingerprint,
        "items": plan.items,
        "classes": catalog.listing(plan.name).counts(),
        "passed_over": dict(catalog.listing(plan.name).passed_over),
        "samples_per_epoch": geometry.samples_per_epoch,
        "batches_per_epoch": batches,
        "tasks_per_epoch": geometry.tasks_per_epoch,
        "items_per_task": geometry.task_items,
        "steps": [asdict(step) for step in list_steps(settings.transform)],
        "parts": _parts(plan),
        "mixing": settings.transform.recipe.mixing if settings.transform.recipe else {},
        "schema": [field.model_dump() | {"bytes": field.sample_bytes} for field in plan.schema],
        "order": [entry for epoch in (0, 1) for entry in _order(catalog, plan, epoch)],
    }


def _parts(plan: StreamPlan) -> list[dict[str, Any]]:
    """Return the parts of a mixture: their names, items, and steps; no steps if they are those of the stream."""
    source = plan.settings.source
    if not isinstance(source, MixtureSource) or plan.groups is None:
        return []
    return [
        {"part": name, "items": items, "steps": None if own is None else [asdict(step) for step in list_steps(own)]}
        for (name, own), items in zip(
            ((name, part.transform) for name, part in source.parts.items()), plan.groups.sizes, strict=True
        )
    ]


def _order(catalog: Catalog, plan: StreamPlan, epoch: int) -> list[dict[str, Any]]:
    """Return the samples at the first positions of an epoch."""
    geometry = plan.geometry
    start = epoch * geometry.samples_per_epoch
    wanted = range(start, start + min(_SHOWN, geometry.samples_per_epoch))
    found = []
    for ordinal in range(*geometry.tasks_between(wanted.start, wanted.stop)):
        items = catalog.items(TaskKey(stream=plan.name, ordinal=ordinal))
        for item, positions in zip(items, geometry.positions(ordinal).tolist(), strict=True):
            found += [
                {
                    "epoch": epoch,
                    "position": position,
                    "path": item.name,
                    "label": item.label,
                    "class": plan.classes[item.label] if item.label >= 0 else "",
                    "patch": patch,
                }
                for patch, position in enumerate(positions)
                if position in wanted
            ]
    return sorted(found, key=lambda entry: entry["position"])


def show(console: Console, told: Mapping[str, Any]) -> None:
    """Print one stream."""
    console.rule(f"stream {told['stream']}", align="left")
    facts = Table.grid(padding=(0, 2))
    for key in ("items", "samples_per_epoch", "batches_per_epoch", "tasks_per_epoch", "items_per_task", "fingerprint"):
        facts.add_row(key.replace("_", " "), f"{told[key]:,}" if isinstance(told[key], int) else told[key])
    console.print(facts)
    console.print()
    counts = [(str(label), name, f"{count:,}") for label, (name, count) in enumerate(told["classes"].items())]
    if len(counts) > _CLASSES:
        counts = [*counts[:_CLASSES], ("…", f"{len(counts) - _CLASSES:,} more", "")]
    _print(console, f"{len(told['classes']):,} classes", ("label", "class", "items"), counts)
    parts = {part["part"]: part["steps"] for part in told["parts"]}
    if None in parts.values() or not parts:
        others = [name for name, steps in parts.items() if steps is None]
        _show_steps(console, told["steps"], f"of {', '.join(others)}" if len(others) < len(parts) else "")
    for name, steps in parts.items():
        if steps is not None:
            _show_steps(console, steps, f"of {name}")
    _show_mixing(console, told["mixing"])
    rows = [
        (
            field["name"],
            field["dtype"],
            str(tuple(field["shape"])),
            field["axes"],
            field["channels"],
            f"{field['bytes']:,}",
        )
        for field in told["schema"]
    ]
    _print(console, "schema of a sample", ("field", "dtype", "shape", "axes", "channels", "bytes"), rows)
    for fact in (told["cache"], told["cache"]["gain"], told["reading"]):
        if fact and fact["sentence"]:
            console.print(fact["sentence"], markup=False, highlight=False)
    console.print()
    order = [tuple(str(value) for value in entry.values()) for entry in told["order"]]
    _print(console, "first samples of two epochs", ("epoch", "position", "path", "label", "class", "patch"), order)


def _show_steps(console: Console, steps: Sequence[Mapping[str, Any]], whose: str) -> None:
    """Print what a transform does; `whose` names the parts of a mixture that have it, if not all do."""
    columns = ("image", "field", "op", "parameters", "p")
    rows = [
        (step["images"] or "all", step["field"], step["op"], _in_words(step["parameters"]), f"{step['p']:g}")
        for step in steps
    ]
    first = 0 if any(step["images"] for step in steps) else 1
    title = f"steps {whose}, in order" if whose else "steps, in order"
    _print(console, title, columns[first:], [row[first:] for row in rows])


def _show_mixing(console: Console, mixing: Mapping[str, float]) -> None:
    if mixing:
        arguments = ", ".join(f"{name}={value:g}" for name, value in mixing.items())
        console.print(f"the recipe mixes batches, at the trainer: penstock.MixedFeed(feed, {arguments})", markup=False)
        console.print()


def show_memory(console: Console, terms: Sequence[Term]) -> None:
    """Print the memory bound."""
    console.rule("memory of all streams at once", align="left")
    rows = [(term.what, f"{term.mb:,.1f}", term.why) for term in terms]
    _print(console, "", ("where", "MB, at most", "why"), [*rows, ("sum", f"{total(terms):,.1f}", "")])


def _in_words(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in parameters.items())


def _print(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in ("items", "bytes", "MB, at most", "position") else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()


def serve(settings: CheckSettings) -> int:
    """List the sources and print; return the exit status."""
    spec = load_spec(settings.spec)
    roots = spec.map_roots(settings.root)
    if settings.stream is not None and settings.stream not in spec.streams:
        raise SpecError(f"--stream {settings.stream!r}: no such stream; there are: {', '.join(spec.streams)}")
    if settings.stream is not None:
        spec = spec.model_copy(update={"streams": {settings.stream: spec.streams[settings.stream]}})
    spec = follow_links(spec, roots)  # as a stack on one host does
    with waiting("listing the sources") as tell:
        catalog = Catalog.open(spec, roots, tell)
    for plan in (each.with_transform(own) for each in catalog.plans for own in each.settings.transforms):
        CustomTransforms(plan.name, plan.settings.transform.custom, schema_before(plan.settings), plan.seed)
    told = [describe(catalog, plan, settings.world_size) for plan in catalog.plans]
    workers = len(usable_cores()) if settings.workers is None else settings.workers
    uses = [Use(plan, catalog.listing(plan.name), look_at(catalog, plan, roots)) for plan in catalog.plans]
    for stream, use in zip(told, uses, strict=True):
        cache = estimate_cache(use.plan, use.files.images)
        gain = measure_gain(catalog, use.plan, roots, cache, use.files.images)
        stream["cache"] = cache.as_json() | {"sentence": cache.sentence}
        stream["cache"]["gain"] = None if gain is None else gain.as_json()
        reading = time_reading(catalog, use.plan, roots)
        stream["reading"] = None if reading is None else reading.as_json()
    terms = estimate(uses, workers=workers, world_size=settings.world_size, prefetch=settings.prefetch)
    if settings.json_:
        memory = [{"where": term.what, "mb": round(term.mb, 3), "why": term.why} for term in terms]
        print(
            json.dumps(
                {
                    "streams": told,
                    "warnings": [*catalog.warnings, *catalog.notes],
                    "memory": memory,
                    "memory_mb": round(total(terms), 3),
                    "jpeg_parts": partial_jpeg.describe(),
                },
                indent=2,
                ensure_ascii=False,
            )
        )
        return 0
    console = PlainConsole()
    for stream in told:
        show(console, stream)
    for kind, texts in (("warning", catalog.warnings), ("note", catalog.notes)):
        for text in texts:
            console.print(f"{kind}: {text}", markup=False, highlight=False)
    show_memory(console, terms)
    console.print(f"patches of large JPEGs are decoded on this host: {partial_jpeg.describe()}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock check`."""
    return run(CheckSettings, serve, "check", arguments)


if __name__ == "__main__":
    sys.exit(main())
