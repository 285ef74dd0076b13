"""Draws samples as a contact sheet: chooses the pictures and the words under them.

Shared by `penstock preview`, `penstock view` and the dashboard.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from pydantic import AliasChoices, Field

from penstock.contact_sheet.pictures import Range, arrange, find_range, resize, to_picture
from penstock.contact_sheet.sheet import Tile, draw, write
from penstock.contact_sheet.targets import draw_targets, shown_elsewhere, target_lines
from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.spec.targets.image import ImageTarget
from penstock.protocol.wire import Array

#: Fields whose caption is not their name, or that have no caption.
_WORDED = {"image", "label", "item", "patch", "manipulation"}
#: Most samples, and most pictures, on one sheet.
MOST = 500


class SheetSettings(Settings):
    """Options of every contact sheet."""

    output: str = Field(default="sheet.png", validation_alias=AliasChoices("o", "output"))
    """File to write: .png, .jpg or .webp."""
    count: int = Field(default=60, ge=1, le=MOST)
    """Samples to show."""
    side: int = Field(default=256, ge=16, le=2048)
    """Longest side (pixels) at which an image is shown. Larger images are reduced; images of at most half this size are
    enlarged by a whole factor."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample; or an item that failed, at the first position that is shown of it."""

    position: int
    #: The item's path, or its index if the path is not known.
    item: str
    #: The fields by name; none of a failure.
    fields: Mapping[str, Array]
    #: Why there are no fields.
    failure: str = ""


def make_sheet(title: str, plan: StreamPlan, samples: Iterable[Sample], side: int) -> Image.Image:
    """Return the sheet of samples, in the order of their positions; all images of one stand in a row."""
    names = picture_names(plan)
    shown: list[tuple[Sample, Sequence[Array | None]]] = []
    for sample in samples:
        found = [] if sample.failure else [arranged(plan, sample, name) for name in names]
        shown.append((sample, [None if image is None else resize(image, side) for image in found]))
    shown.sort(key=lambda pair: pair[0].position)
    levels = ranges(plan, ((name, image) for _, images in shown for name, image in zip(names, images, strict=False)))
    notes = [_note(plan, names, levels)]
    if failed := sum(bool(sample.failure) for sample, _ in shown):
        notes.append(f"{failed} item{'s' if failed > 1 else ''} could not be made: quarantined when the stream runs")
    tiles: list[Tile | None] = []
    for sample, images in shown:
        if sample.failure:
            tiles += [Tile(sample.failure, lines(plan, sample)), *[None] * (len(names) - 1)]
        for name, image in zip(names, images, strict=False):
            shown_as = None if image is None else to_picture(image, levels[name])
            picture = None if shown_as is None else draw_targets(shown_as, plan, sample.fields, name)
            content = picture or f"{name} {_field(plan, name).shape}: no picture"
            tiles.append(Tile(content, lines(plan, sample, name), texts(plan, sample, name)))
    return draw(title, notes, tiles, together=len(names))


def picture_names(plan: StreamPlan) -> tuple[str, ...]:
    """Return the fields of a sample that are shown, in order: each image, and next to it its further images."""
    further: dict[str, list[str]] = {}
    for placed in plan.settings.placed_targets:
        if isinstance(placed.target, ImageTarget):
            further.setdefault(placed.image, []).append(placed.field)
    return tuple(name for image in plan.settings.transform.image_names for name in (image, *further.get(image, ())))


def ranges(plan: StreamPlan, images: Iterable[tuple[str, Array | None]]) -> dict[str, Range]:
    """Return the range that each field is shown in: the same for all of one type."""
    dtypes = {name: _field(plan, name).dtype for name in picture_names(plan)}
    found: dict[str, list[Array]] = {dtype: [] for dtype in dtypes.values()}
    for name, image in images:
        if image is not None:
            found[dtypes[name]].append(image)
    levels = {dtype: find_range(dtype, each) for dtype, each in found.items()}
    return {name: levels[dtype] for name, dtype in dtypes.items()}


def _field(plan: StreamPlan, name: str) -> FieldSchema:
    return next(field for field in plan.schema if field.name == name)


def _note(plan: StreamPlan, names: Sequence[str], levels: Mapping[str, Range]) -> str:
    """Say what the images are: neighbours of one type and shape together."""
    told = []
    for (dtype, shape), group in groupby(names, lambda name: (_field(plan, name).dtype, _field(plan, name).shape)):
        alike = list(group)
        others = f" {'and' if len(alike) == 2 else 'to'} {alike[-1]}" if len(alike) > 1 else ""  # noqa: PLR2004
        if len(alike) > 1 and plan.settings.transform.manipulations is not None:
            others = f" and {len(alike) - 1} manipulations"
        shown = levels[alike[0]]
        told.append(f"{alike[0]}{others}: {dtype} {shape}{'' if shown.given else f', {shown}'}")
    return "; ".join(told)


def most_samples(plan: StreamPlan, count: int) -> int:
    """Return how many of `count` samples go on one sheet: each shows as many pictures as it has images."""
    return min(count, max(1, MOST // len(picture_names(plan))))


def save(sheet: Image.Image, path: Path) -> str:
    """Write a sheet; return a sentence about it. Raises SpecError if it cannot be written."""
    write(sheet, path)
    return f"{path}: {sheet.width} × {sheet.height} pixels"


def lines(plan: StreamPlan, sample: Sample, image: str = "image") -> tuple[str, ...]:
    """Return the caption of a sample's image: label; patch, manipulation; numbers; item."""
    name = PurePosixPath(sample.item).name
    if sample.failure:
        return ("quarantined", name)
    fields = sample.fields
    change = [f"patch {int(fields['patch'])}"] if plan.settings.patches > 1 else []
    if "manipulation" in fields:
        change.append(_manipulation(plan, fields["manipulation"]))
    if image != "image":
        change.append(image)
    hidden = _WORDED | shown_elsewhere(plan)
    further = [f"{key} {_number(value)}" for key, value in fields.items() if key not in hidden and value.ndim == 0]
    if plan.settings.transform.manipulations is None and image != picture_names(plan)[0]:
        further = []  # they stand under the first
    found = (_label(plan, fields["label"]), " · ".join(change), " · ".join(further), name)
    return tuple(line for line in found if line)


def texts(plan: StreamPlan, sample: Sample, image: str = "image") -> list[str]:
    """Return the targets of a sample in words: its labels and captions. They stand under the first of its images."""
    return target_lines(plan, sample.fields) if image == picture_names(plan)[0] else []


def arranged(plan: StreamPlan, sample: Sample, name: str) -> Array | None:
    """Return an image of a sample as it is drawn, (height, width, 1 or 3), or None if it is none."""
    axes = _field(plan, name).axes
    # If a custom transform makes it and the spec says no axes, its shape has to.
    return arrange(sample.fields[name], channels_first=axes == "chw" if axes else None)


def _label(plan: StreamPlan, label: Array) -> str:
    if label.ndim:
        return np.array2string(label, precision=2, threshold=8)
    if np.issubdtype(label.dtype, np.integer):
        index = int(label)
        if 0 <= index < len(plan.classes):
            return plan.classes[index]
        return ("" if plan.settings.targets else "no label") if index < 0 else str(index)
    return _number(label)


def _manipulation(plan: StreamPlan, manipulation: Array) -> str:
    names = plan.settings.transform.manipulations.names if plan.settings.transform.manipulations else ()
    index = int(manipulation)
    return "unchanged" if index == 0 else names[index] if index < len(names) else f"manipulation {index}"


def _number(value: Array) -> str:
    return f"{value.item():.4g}" if np.issubdtype(value.dtype, np.number) else str(value.item())
