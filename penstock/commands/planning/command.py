"""`penstock plan`: what a job of many nodes needs, from the costs of its stream measured on this machine."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.table import Table

from penstock.commands.checking.memory_estimate import look_at
from penstock.commands.planning.capacity import BUSY, Capacity, Costs, Job, plan_capacity
from penstock.commands.planning.measure import measure
from penstock.launcher.links import follow_links
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.spec.spec import load_spec, only_stream
from penstock.terminal.console import PlainConsole
from penstock.terminal.words import several
from penstock.ventilator.sources.catalog import Catalog


class PlanSettings(Settings):
    """Tells how many workers, sinks and how much network a job needs, from costs that it measures on this machine."""

    spec: CliPositionalArg[str]
    """Path of the spec (TOML)."""
    nodes: int = Field(default=1, ge=1, le=100_000)
    """Machines that train."""
    gpus: int = Field(default=1, ge=1, le=1000)
    """GPUs, each a trainer of its own, on each of them."""
    samples_per_gpu: float = Field(gt=0, le=1e9)
    """Samples per second that one GPU trains on."""
    network_gbit: float = Field(default=25.0, gt=0, le=1e6)
    """Gbit/s of a node's network."""
    workers_per_node: int = Field(default=0, ge=0, le=10_000)
    """Workers that run on each of the machines that train; they make that machine's samples first."""
    seconds: float = Field(default=10.0, ge=1, le=3600)
    """Seconds for which the stream runs here to be measured."""
    stream: str | None = None
    """Stream of the spec; default: its first."""
    root: dict[str, str] = Field(default_factory=dict)
    """NAME=FOLDER: the folder of one of the spec's roots on this host. May be given several times."""
    json_: bool = Field(default=False, alias="json")
    """Print JSON instead of a table."""


def serve(settings: PlanSettings) -> int:
    """Measure, compute and print; return the exit status."""
    spec = load_spec(settings.spec)
    roots = spec.map_roots(settings.root)
    spec = only_stream(spec, settings.stream)
    console = PlainConsole(stderr=True)
    with console.waiting("starting a stack") as status:
        costs = measure(spec, spec.known_roots(settings.root), settings.seconds, status.update)
        status.update("looking at the files")
        catalog = Catalog.open(follow_links(spec, roots), roots)
        [plan] = catalog.plans
        read_bytes = look_at(catalog, plan, roots).mean_bytes / plan.settings.patches
    costs = replace(costs, read_bytes=read_bytes)
    job = Job(settings.nodes, settings.gpus, settings.samples_per_gpu, settings.network_gbit, settings.workers_per_node)
    capacity = plan_capacity(costs, job)
    if settings.json_:
        print(
            json.dumps(
                {"costs": asdict(costs), "job": asdict(job), **asdict(capacity), "fits": capacity.fits}, indent=2
            )
        )
    else:
        _show(PlainConsole(), plan.name, costs, job, capacity)
    return 0


def _show(console: PlainConsole, stream: str, costs: Costs, job: Job, capacity: Capacity) -> None:
    gpus = f"{several(job.nodes, 'node')} of {several(job.gpus_per_node, 'GPU')}"
    console.print(f"stream {stream!r}: {gpus} take {capacity.wanted:,.0f} samples/s of {costs.sample_bytes:,.0f} bytes")
    console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column, side in (("part", "left"), ("how many", "right"), ("busy cores", "right"), ("measured here", "left")):
        table.add_column(column, justify="right" if side == "right" else "left")
    for need in capacity.needs:
        table.add_row(need.part, f"{need.count:,}", f"{need.cores:,.2f}", need.why)
    console.print(table)
    console.print()
    console.print(
        f"network: {capacity.read_gbit:,.2f} Gbit/s of files to all workers, {capacity.made_gbit:,.2f} Gbit/s of "
        f"samples from them, {capacity.node_gbit:,.2f} Gbit/s into each trainer's node of {job.network_gbit:g}"
    )
    console.print(_near(costs, job, capacity))
    first = capacity.limits[0]
    if capacity.fits:
        factor = first.samples_per_s / capacity.wanted
        console.print(
            f"first to saturate: {first.what}, at {first.samples_per_s:,.0f} samples/s, {factor:,.1f} times this job; "
            f"then {first.advice}"
        )
    for limit in capacity.limits:
        if limit.samples_per_s < capacity.wanted:
            console.print(
                f"too much for {limit.what}, which saturates at {limit.samples_per_s:,.0f} samples/s: {limit.advice}"
            )
    console.print(
        f"Workers, sinks and the ventilator are counted as busy for at most {BUSY:.0%} of a core like this machine's."
    )


def _near(costs: Costs, job: Job, capacity: Capacity) -> str:
    """Return a sentence about the samples that are made on the node that trains on them."""
    if job.workers_per_node:
        return (
            f"With {several(job.workers_per_node, 'worker')} on each node, {capacity.near:.0%} of the samples are made "
            f"where they are trained on; the others are {capacity.crossing_gbit:,.2f} Gbit/s"
        )
    files = costs.read_bytes / costs.sample_bytes
    return (
        f"{several(capacity.near_workers, 'worker')} on each node would make all of its samples there; then files come "
        f"in by its network instead, {files:.2g} times as many bytes (--workers-per-node)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock plan`."""
    return run(PlanSettings, serve, "plan", arguments)


if __name__ == "__main__":
    sys.exit(main())
