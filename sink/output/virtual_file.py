"""The file under an output's own name: its attributes, and virtual data sets over pieces or shards.

Readers see all samples as one data set per field. Paths to pieces and shards are relative to the file.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import h5py

from penstock.protocol.plan import StreamPlan
from penstock.sink.output.durable_files import Disk, DurableFile
from penstock.sink.output.item_paths import PATHS, Names
from penstock.sink.output.layout import LIBVER, Layout, OutputConfig, attributes
from penstock.sink.output.part_file import Piece, create, write_lost


@dataclass(frozen=True, slots=True)
class Found:
    """The file under an output's name, if there is one."""

    #: Why it is no output of Penstock's; empty if it is one, or if there is no file.
    foreign: str = ""
    #: The settings that it was written with; empty if there is no file.
    recipe: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False
    rows: int = 0


def look(path: Path) -> Found:
    """Return the file under an output's name."""
    if not os.path.lexists(path):
        return Found()
    if not path.is_file():
        return Found("it is no file")
    try:
        with cast("Any", h5py.File(path, "r")) as file:
            if file.attrs.get("penstock_format") is None:
                return Found("it was not written by Penstock")
            recipe = json.loads(file.attrs["recipe"])
            rows = len(file["epoch"]) if "epoch" in file else 0
            return Found("", recipe, bool(file.attrs["complete"]), rows)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        return Found(f"it is no HDF5 file of Penstock's ({error})")


def missing_parts(data: Any) -> list[Path]:  # noqa: ANN401 - h5py has no types
    """Return the missing files of a virtual data set; none for another data set."""
    sources = data.virtual_sources() if data.is_virtual else ()
    names = dict.fromkeys(source.file_name.replace("%%", "%") for source in sources)
    folder = Path(data.file.filename).parent
    return [folder / name for name in names if not (folder / name).is_file()]


def describe(file: h5py.File, plan: StreamPlan, config: OutputConfig, stop: int, *, complete: bool) -> None:
    """Write the root's attributes."""
    file.attrs.update(attributes(plan, config, stop, complete=complete))
    file.attrs["classes"] = list(plan.classes) if plan.classes else h5py.Empty(h5py.string_dtype())
    file.attrs["recipe"] = json.dumps(config.recipe(plan))
    file.attrs.update(h5py_version=h5py.version.version, hdf5_version=h5py.version.hdf5_version)


def write_view(  # noqa: PLR0913 - all that stands in the file
    path: Path,
    pieces: Sequence[Piece],
    plan: StreamPlan,
    config: OutputConfig,
    names: Names,
    disk: Disk,
    *,
    complete: bool,
) -> None:
    """Replace the file at `path` by a view over the pieces. Raises OutputError."""
    parts = names.path.parent
    durable = DurableFile(parts / "view.h5.tmp", disk)
    with durable.guard(), h5py.File(durable, "w", libver=LIBVER) as file:
        layout = Layout.of(plan)
        rows = sum(piece.rows for piece in pieces)
        for column in layout.columns:
            if not rows:
                create(file, column, 0, "none")
                continue
            shape = column.field.shape
            view = h5py.VirtualLayout((rows, *shape), column.field.dtype)
            start = 0
            for piece in pieces:
                if piece.rows:
                    where = os.path.relpath(piece.path, path.parent).replace("%", "%%")  # HDF5 would fill in numbers
                    view[start : start + piece.rows] = h5py.VirtualSource(where, column.name, (piece.rows, *shape))
                start += piece.rows
            file.create_virtual_dataset(column.name, view)
        if complete:
            names.copy_to(file)
        else:
            file[PATHS] = h5py.ExternalLink(os.path.relpath(names.path, path.parent), PATHS)
        write_lost(file, [lost for piece in pieces for lost in piece.lost])
        describe(file, plan, config, pieces[-1].stop if pieces else 0, complete=complete)
    durable.finish()
    disk.rename(durable.path, path)
