"""Draws a file's samples as a contact sheet: chooses rows, and captions for files of other programs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from penstock.commands.inspect_file import Inspected
from penstock.contact_sheet.pictures import arrange, find_range, resize, to_picture
from penstock.contact_sheet.samples import MOST, Sample, make_sheet, picture_names
from penstock.contact_sheet.sheet import Tile, draw
from penstock.protocol.errors import SpecError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.hdf5_open import names_of
from penstock.protocol.wire import Array
from penstock.trainer.hdf5.changes import is_image
from penstock.trainer.hdf5.columns import Column

#: Fields that the title row shows, or that belong to the file and not to the sample.
_UNTOLD = {"epoch"}


def draw_file(inspected: Inspected, count: int, side: int) -> Image.Image:
    """Return a sheet of `count` samples, evenly spread; all images of one stand in a row.

    Raises SpecError if the file holds no images, SourceError if they cannot be read.
    """
    plan = inspected.facts.plan
    known = [field.name for field in plan.schema] if plan else []
    images = [name for name, data in inspected.data.items() if data.shape and is_image(data.shape[1:], data.dtype)]
    if plan and set(picture_names(plan)) <= set(inspected.data):
        images = list(picture_names(plan))
    if not images or not inspected.samples:
        raise SpecError(f"{inspected.name}: no images to draw; it holds: {names_of(inspected.file)}")
    count = min(count, inspected.samples, max(1, MOST // len(images)))
    rows = np.unique(np.linspace(0, inspected.samples - 1, count).astype(np.int64))
    title = f"{inspected.name}: {len(rows)} of {inspected.samples:,} samples"
    if plan and set(images) <= set(known):
        return make_sheet(title, plan, _samples(inspected, [*known, "epoch"], rows), side)
    return _draw_foreign(inspected, title, images, rows, side)


def _samples(inspected: Inspected, names: Sequence[str], rows: Int64s) -> Iterator[Sample]:
    """Yield samples of a file that Penstock wrote, in the words of its plan."""
    fields = {name: _take(inspected, name, rows) for name in names if name in inspected.data and name not in _UNTOLD}
    paths: Any = inspected.data.get("paths")
    for index, row in enumerate(rows.tolist()):
        values = {name: np.asarray(array[index]) for name, array in fields.items()}
        item = int(values["item"])
        named = f"item {item}" if paths is None or item >= len(paths) else paths[item].decode(errors="replace")
        yield Sample(row, named, values)


def _draw_foreign(inspected: Inspected, title: str, images: Sequence[str], rows: Int64s, side: int) -> Image.Image:
    """Draw a file of another program: under each image its data set, class and row."""
    shown = {name: _take(inspected, name, rows) for name in images}
    first = shown[images[0]]
    levels = find_range(first.dtype.name, [each for array in shown.values() for each in array])
    labels = _take(inspected, "label", rows) if "label" in inspected.data else None
    tiles: list[Tile | None] = []
    for index, row in enumerate(rows.tolist()):
        for name in images:
            image = arrange(shown[name][index])
            content = f"{name}: no picture" if image is None else to_picture(resize(image, side), levels)
            tiles.append(Tile(content, (_label(inspected, labels, index), f"{name}[{row}]")))
    notes = [f"{', '.join(images)}: {first.dtype} {first.shape[1:]}{'' if levels.given else f', {levels}'}"]
    return draw(title, notes, tiles, together=len(images))


def _label(inspected: Inspected, labels: Array | None, index: int) -> str:
    if labels is None or labels.ndim != 1:
        return ""
    label = labels[index].item()
    return inspected.classes[label] if isinstance(label, int) and 0 <= label < len(inspected.classes) else str(label)


def _take(inspected: Inspected, name: str, rows: Int64s) -> Array:
    return Column(inspected.data[name], inspected.bounds).take(rows)
