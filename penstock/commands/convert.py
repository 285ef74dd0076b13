"""`penstock convert`: writes the items of any source into tar shards or Parquet files, which storage reads fast.

This module reads the settings and shows the progress; `converting/` does the work.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from penstock.commands.converting.folder import OutputFolder
from penstock.commands.converting.images import Recoding
from penstock.commands.converting.run import Conversion, Work, mean_bytes
from penstock.commands.converting.shards import import_pyarrow, write_parquet, write_tar
from penstock.launcher.links import follow_links
from penstock.protocol.errors import SourceError, SpecError
from penstock.protocol.runtime.cores import usable_cores
from penstock.protocol.runtime.printable import say
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import MIXTURE, Source
from penstock.protocol.spec.spec import Spec, Stream, load_spec, parse_spec
from penstock.terminal.console import PlainColumn, PlainConsole
from penstock.terminal.interrupts import Interrupts, interrupted
from penstock.terminal.spinner import waiting
from penstock.terminal.words import several
from penstock.ventilator.sources.catalog import Catalog

#: Items that are read at once.
_TASK_ITEMS = 16


class ConvertSettings(Settings):
    """Writes the items of a stream's source into tar shards or Parquet files."""

    model_config = SettingsConfigDict(cli_shortcuts={"output": "o"})

    spec: CliPositionalArg[str]
    """Path of the spec (TOML)."""
    output: str = ""
    """Folder for the shards. The same command goes on with a folder that it did not finish."""
    stream: str | None = None
    """Name of the stream whose source is converted; default: the only one."""
    to: Literal["tar", "parquet"] = "tar"
    """`tar`: shards with WebDataset's names; `parquet`: files as the Hugging Face hub stores images."""
    shard_mb: float = Field(default=256.0, gt=0)
    """Size of a shard (MB, 10^6 bytes), about: some images say how many make a shard."""
    resize: int | None = Field(default=None, ge=1, le=65_535)
    """Shorter side (pixels) that larger images are brought to; smaller ones stay as they are."""
    quality: int | None = Field(default=None, ge=1, le=100)
    """Quality of JPEG in which every image is written anew; default: bytes stay as they are, and images that are made
    smaller get 90."""
    workers: int | None = Field(default=None, ge=1, le=256)
    """Number of shards that are written at once; default: one per core."""
    root: dict[str, str] = Field(default_factory=dict)
    """NAME=FOLDER: the folder of one of the spec's roots on this host. May be given several times."""


def serve(settings: ConvertSettings) -> int:
    """Write the shards; return the exit status: 1 if images were left out."""
    if not settings.output:
        raise SpecError("give a folder for the shards: -o shards")
    if settings.to == "parquet":
        import_pyarrow()
    interrupts = Interrupts()
    try:
        with ExitStack() as cleanup, interrupts.armed():
            return _convert(settings, cleanup)
    except KeyboardInterrupt:
        say(f"\npenstock convert: stopped; the same command goes on with the shards that {settings.output} lacks")
        return interrupted(interrupts.status)


def _convert(settings: ConvertSettings, cleanup: ExitStack) -> int:
    name, spec = _spec(settings)
    roots = spec.map_roots(settings.root)
    spec = follow_links(spec, roots)  # as a stack on one host does
    _check_apart(settings.output, spec.streams[name].source, roots)
    with waiting("listing the source") as tell:
        catalog = Catalog.open(spec, roots, tell)
    (plan,) = catalog.plans
    work = Work(
        catalog,
        plan,
        roots,
        Recoding(settings.resize, settings.quality),
        write_tar if settings.to == "tar" else write_parquet,
        lambda number, count: _name(settings.to, name, number, count),
    )
    facts = _decoding(spec.streams[name]) | {
        "stream": name,
        "roots": {each: _real(roots[each]) for each in sorted(spec.root_names)},
        "items": plan.items,
        "source": catalog.listing(name).digest,
        "to": settings.to,
        "shard_mb": settings.shard_mb,
        "resize": settings.resize,
        "quality": settings.quality,
    }
    folder = OutputFolder(Path(settings.output), facts)
    cleanup.enter_context(folder.locked())
    shard_items = folder.known_shard_items()
    if shard_items is None:
        shard_items = max(1, int(settings.shard_mb * 1e6) // mean_bytes(work))
        folder.begin(shard_items)
    conversion = Conversion(work, folder, shard_items)
    _run(conversion, settings)
    return _summarise(conversion, folder, plan.classes, settings)


def _run(conversion: Conversion, settings: ConvertSettings) -> None:
    """Write what is missing, with a bar on a terminal. Raises SourceError."""
    missing = conversion.missing()
    total = sum(len(conversion.items(number)) for number in range(len(conversion.names)))
    left = sum(len(conversion.items(number)) for number in missing)
    if len(missing) < len(conversion.names):
        say(f"{settings.output}: {len(conversion.names) - len(missing)} of {len(conversion.names)} shards are there")
    console = PlainConsole(stderr=True)
    columns = (PlainColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("images", total=total, completed=total - left)
        try:
            conversion.run(settings.workers or len(usable_cores()), lambda count: bar.advance(task, count))
        except OSError as error:
            raise SourceError(
                f"{settings.output}: cannot write: {error.strerror or error}; the same command goes on with the shards "
                "that are missing"
            ) from error


def _summarise(conversion: Conversion, folder: OutputFolder, classes: Sequence[str], settings: ConvertSettings) -> int:
    """Say what was written, and how to read it."""
    failures = [each for name in conversion.names for each in folder.failures(name)]
    items = sum(len(conversion.items(number)) for number in range(len(conversion.names))) - len(failures)
    size = sum((folder.place / name).stat().st_size for name in conversion.names)
    say(
        f"{settings.output}: {several(items, 'image')} in {several(len(conversion.names), 'shard')}, "
        f"{size / 1e6:,.1f} MB; to read them:"
    )
    say(f"\n[roots]\nshards = {_toml(str(folder.place.resolve()))}\n\n[streams.train.source]")
    for field, value in _source(settings.to, conversion.names, classes).items():
        say(f"{field} = {_toml(value)}")
    for each in failures[:3]:
        say(f"\nleft out: {each['path']}: {each['reason']}")
    if failures:
        say(f"{several(len(failures), 'image')} left out in all: see {settings.output}/*.failed.jsonl")
    return 1 if failures else 0


def _source(to: str, names: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """Return the source that reads the shards."""
    path = names[0] if len(names) == 1 else f"{names[0].partition('-0')[0]}-*.{to}"
    fields: dict[str, Any] = {"kind": to, "root": "shards", "path": path}
    if not classes:
        return fields | {"label": ""}
    if to == "tar":
        fields |= {"label": "json", "label_field": "label"}
    return fields | {"classes": list(classes)}


def _toml(value: object) -> str:
    """Return a text or a list of texts as TOML: as JSON writes them, but for letters that a terminal does not show."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)


def _name(to: str, stream: str, number: int, count: int) -> str:
    """Return a shard's name, as WebDataset's writers and the hub call theirs."""
    return f"{stream}-{number:06d}.tar" if to == "tar" else f"{stream}-{number:05d}-of-{count:05d}.parquet"


def _spec(settings: ConvertSettings) -> tuple[str, Spec]:
    """Return the stream's name, and a spec of its source alone, in the source's own order. Raises SpecError."""
    spec = load_spec(settings.spec)
    spec.map_roots(settings.root)  # refuses names of roots that no stream has
    known = ", ".join(spec.streams)
    if settings.stream is None and len(spec.streams) > 1:
        raise SpecError(f"give --stream: the spec has several: {known}")
    name = settings.stream or next(iter(spec.streams))
    if name not in spec.streams:
        raise SpecError(f"--stream {name!r}: no such stream; there are: {known}")
    stream = spec.streams[name]
    _check(name, stream)
    plain = {
        "source": stream.source.model_dump(mode="json", exclude_unset=True),
        "transform": {**_decoding(stream), "resize": {"height": 1, "width": 1}},
        "failure_budget": stream.failure_budget,
        "shuffle": False,
        "task_items": _TASK_ITEMS,
    }
    data = spec.model_dump(mode="json", include={"roots"}) | {"streams": {name: plain}}
    return name, parse_spec(data, name=settings.spec)


def _decoding(stream: Stream) -> dict[str, Any]:
    """Return the settings that say how images are read and decoded."""
    return stream.transform.model_dump(
        mode="json", include={"color", "exif_orientation", "max_megapixels", "max_file_mb"}
    )


def _real(root: str) -> str:
    """Return where a root is, whatever links lead there."""
    return root if is_url(root) else os.path.realpath(root)


def _check(name: str, stream: Stream) -> None:
    """Raise SpecError for a stream of which shards would lack something."""
    if stream.targets:
        raise SpecError(f"stream {name!r} has targets, and shards hold images and labels only: keep its manifest")
    if stream.source.kind_name == MIXTURE:
        raise SpecError(f"stream {name!r} is a mixture: convert its parts one by one")


def _check_apart(output: str, source: Source, roots: Mapping[str, str]) -> None:
    """Raise SpecError for an output folder in a tree of class folders: it would become one of them."""
    root = roots.get(source.root, "")
    if source.kind_name != "directory" or not root or is_url(root):
        return
    tree = Path(root, getattr(source, "path", "")).resolve()
    if tree in Path(output).resolve().parents:
        raise SpecError(
            f"--output {output!r} lies in {str(tree)!r}, whose folders are the source's classes: give one elsewhere"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock convert`."""
    return run(ConvertSettings, serve, "convert", arguments)


if __name__ == "__main__":
    sys.exit(main())
