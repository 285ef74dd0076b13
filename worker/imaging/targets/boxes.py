"""Boxes: reads them from a cell, checks them and moves them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Points, corners_of
from penstock.protocol.spec.targets.boxes import BoxesTarget
from penstock.protocol.wire import Array
from penstock.worker.imaging.program import Program
from penstock.worker.imaging.targets.annotation_files import Named, Objects, objects_of, voc_objects, yolo_objects
from penstock.worker.imaging.targets.base import ROUNDING, SLACK, LoadedTarget, TargetLoader
from penstock.worker.imaging.targets.cells import ClassNames, finite, list_of, shown
from penstock.worker.imaging.targets.moving import moved_polygon

_NUMBERS = 4
_FORMS = {
    "xyxy": "[left, top, right, bottom]",
    "xywh": "[left, top, width, height]",
    "cxcywh": "[middle x, middle y, width, height]",
}
#: How annotation files are read, and how they write boxes.
_FILES: dict[str, tuple[Objects, str, bool]] = {
    "yolo": (yolo_objects, "cxcywh", True),
    "voc": (voc_objects, "xyxy", False),
}


class BoxesLoader(TargetLoader):
    """Loads boxes."""

    def __init__(self, target: BoxesTarget) -> None:
        """Take the target's fields in the spec."""
        self._target = target
        self._objects: Objects | None = None
        self._places: str = target.format
        self._normalized = target.normalized
        if target.format in _FILES:
            self._objects, self._places, self._normalized = _FILES[target.format]
        self._form = _FORMS[self._places]
        self._labels = ClassNames(target.classes or ())

    def load(self, cell: str, content: bytes | ItemError | None, image: Size) -> LoadedTarget:
        """Return the boxes of an image."""
        named = self._named(cell, content)
        if len(named) > self._target.max_boxes:
            raise ItemError(f"{len(named)} boxes, and max_boxes = {self._target.max_boxes}: raise max_boxes")
        return _Boxes(self._target, image, [self._box(where, value, image) for where, value in named])

    def _named(self, cell: str, content: bytes | ItemError | None) -> Sequence[Named]:
        """Return the boxes as they are written, each with its name for messages."""
        if self._objects is not None:
            return objects_of(self._objects, cell, content)
        values = list_of(cell, f"a list of boxes such as [{self._form}]")
        return [(self._name(place, value), value) for place, value in enumerate(values)]

    @staticmethod
    def _name(place: int, value: object) -> str:
        if isinstance(value, list) and len(value) == _NUMBERS + 2:
            return f"annotation {value[-1]} = {shown(value)}"
        return f"box {place} = {shown(value)}"

    def _box(self, where: str, value: Any, image: Size) -> "_Box":  # noqa: ANN401 - whatever JSON holds
        least = _NUMBERS + bool(self._labels)
        if not isinstance(value, list) or not least <= len(value) <= _NUMBERS + 2:
            form = f"{self._form[:-1]}, class]" if self._labels else self._form
            raise ItemError(f"{where}: must be {form}, {least} values")
        numbers = [finite(where, number) for number in value[:_NUMBERS]]
        left, top, right, bottom = self._sides(numbers, image)
        if not (left < right and top < bottom):
            raise ItemError(f"{where}: is empty, from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) (x, y)")
        if min(left, top) < -SLACK or right > image[1] + SLACK or bottom > image[0] + SLACK:
            raise ItemError(
                f"{where}: reaches from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) (x, y), outside of the image, "
                f"which has {image[1]} × {image[0]} pixels (width × height): is format = {self._target.format!r}, "
                f"normalized = {str(self._target.normalized).lower()} right?"
            )
        corners = corners_of(max(0.0, left), max(0.0, top), min(image[1], right), min(image[0], bottom))
        return _Box(corners, self._labels.label(where, value[_NUMBERS]) if self._labels else -1)

    def _sides(self, numbers: Sequence[float], image: Size) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom in pixels."""
        x, y, third, fourth = numbers
        if self._places == "xywh":
            third, fourth = x + third, y + fourth
        elif self._places == "cxcywh":
            x, y, third, fourth = x - third / 2.0, y - fourth / 2.0, x + third / 2.0, y + fourth / 2.0
        if not self._normalized:
            return x, y, third, fourth
        return x * image[1], y * image[0], third * image[1], fourth * image[0]


@dataclass(frozen=True, slots=True)
class _Box:
    corners: Points
    label: int


class _Boxes(LoadedTarget):
    """The boxes of one image."""

    def __init__(self, target: BoxesTarget, image: Size, boxes: Sequence[_Box]) -> None:
        self._target, self._image, self._boxes = target, image, boxes

    def write(self, program: Program, out: Sequence[Array], row: int) -> None:
        """Write what is left of the boxes, how many these are, and their classes."""
        places, count = out[0][row], 0
        labels = out[2][row] if self._target.classes is not None else None
        places[...] = 0
        if labels is not None:
            labels[...] = -1
        edge = np.array([program.size[1], program.size[0]], np.float64)
        for box in self._boxes:
            corners, visible = moved_polygon(program.moves, box.corners, self._image)
            if not len(corners) or visible < self._target.min_visibility - ROUNDING:
                continue
            first, last = np.clip(corners.min(axis=0), 0, edge), np.clip(corners.max(axis=0), 0, edge)
            places[count] = *first, *last
            if not (places[count, :2] < places[count, 2:]).all():  # too thin for its type
                places[count] = 0
                continue
            if labels is not None:
                labels[count] = box.label
            count += 1
        out[1][row] = count
