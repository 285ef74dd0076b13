"""`penstock preview`: a contact sheet of a stream's first samples, made in this process by the workers' own pipeline.

Starts no service and opens no socket.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.progress import Progress

from penstock.contact_sheet.samples import Sample, SheetSettings, make_sheet, most_samples, save
from penstock.contact_sheet.sheet import check_output
from penstock.launcher.links import follow_links
from penstock.protocol.errors import SpecError, TransformError
from penstock.protocol.messages import Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.runtime.printable import say
from penstock.protocol.runtime.service import run
from penstock.protocol.spec.spec import load_spec
from penstock.terminal.console import PlainConsole
from penstock.terminal.spinner import waiting
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.parts.opening import open_any

if TYPE_CHECKING:
    from penstock.worker.imaging.parts.pipeline import AnyPipeline

Places = Sequence[tuple[int, int]]


class PreviewSettings(SheetSettings):
    """Draws the first samples of an epoch as trainers would receive them, each with its label and manipulation."""

    spec: CliPositionalArg[str]
    """Path of the spec (TOML)."""
    stream: str | None = None
    """Name of the stream; default: the first one in the spec."""
    epoch: int = Field(default=0, ge=0)
    """Number of the epoch to show, counted from 0."""
    root: dict[str, str] = Field(default_factory=dict)
    """NAME=FOLDER: the folder of one of the spec's roots on this host. May be given several times."""


def find_units(catalog: Catalog, plan: StreamPlan, wanted: range) -> list[tuple[Task, Places]]:
    """Return each item with samples at `wanted` positions, as a task, and these samples as (position, patch).

    One item at a time: a mix window of a thousand items is not made for the sake of its first sixty samples.
    """
    geometry = plan.geometry
    found: list[tuple[Task, Places]] = []
    for ordinal in range(*geometry.tasks_between(wanted.start, wanted.stop)):
        for offset, row in enumerate(geometry.positions(ordinal).tolist()):
            if places := [(position, patch) for patch, position in enumerate(row) if position in wanted]:
                found.append((catalog.task(TaskKey(stream=plan.name, ordinal=ordinal, item_offset=offset), 0), places))
    return found


def make_samples(pipeline: "AnyPipeline", task: Task, places: Places) -> Iterator[Sample]:
    """Yield the samples of one item at their positions, or that it failed. Raises TransformError."""
    loaded = pipeline.read(task)
    outcome = pipeline.make(task, loaded)
    for failure in outcome.failures:
        if failure.fatal:
            raise TransformError(f"{failure.path}: {failure.reason}")
        yield Sample(min(places)[0], failure.path, {}, failure.reason)
    names = [field.name for field in pipeline.plan.schema]
    for position, patch in places if not outcome.failures else ():
        fields = {name: array[patch, ...] for name, array in zip(names, outcome.arrays, strict=True)}
        yield Sample(position, loaded.paths[0], fields)


def serve(settings: PreviewSettings) -> int:
    """List the source, make the samples, write the sheet; return the exit status."""
    target = check_output(settings.output)
    spec = load_spec(settings.spec)
    name = next(iter(spec.streams)) if settings.stream is None else settings.stream
    if name not in spec.streams:
        raise SpecError(f"--stream {name!r}: no such stream; there are: {', '.join(spec.streams)}")
    roots = spec.map_roots(settings.root)
    spec = follow_links(spec.model_copy(update={"streams": {name: spec.streams[name]}}), roots)
    with waiting("listing the source") as tell:
        catalog = Catalog.open(spec, roots, tell)
    [plan] = catalog.plans
    size = plan.geometry.samples_per_epoch
    wanted = range(settings.epoch * size, settings.epoch * size + min(most_samples(plan, settings.count), size))
    pipeline, units = open_any(plan, roots), find_units(catalog, plan, wanted)
    title = f"{plan.name}, epoch {settings.epoch}: the first {len(wanted)} of {size:,} samples"
    console = PlainConsole(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        turns = progress.track(units, description="making samples")
        samples = (sample for task, places in turns for sample in make_samples(pipeline, task, places))
        sheet = make_sheet(title, plan, samples, settings.side)
    say(save(sheet, target))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock preview`."""
    return run(PreviewSettings, serve, "preview", arguments)


if __name__ == "__main__":
    sys.exit(main())
