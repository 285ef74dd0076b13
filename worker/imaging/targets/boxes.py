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
from penstock.worker.imaging.targets.cells import ClassNames, check_boxes, finite, list_of, shown
from penstock.worker.imaging.targets.moving import moved_bounds

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
        named: Sequence[Named] | None = None
        if self._objects is not None:
            named = objects_of(self._objects, cell, content)
            values: list[Any] = [value for _, value in named]
        else:
            values = list_of(cell, f"a list of boxes such as [{self._form}]")
        check_boxes(len(values), self._target.max_boxes)
        found = self._all(values, image)
        if found is None:  # one by one, to say which of them is wrong
            named = named or [(self._name(place, value), value) for place, value in enumerate(values)]
            boxes = [self._box(where, value, image) for where, value in named]
            found = np.array([box.corners for box in boxes], np.float64), [box.label for box in boxes]
        return _Boxes(self._target, image, *found)

    def _all(self, values: list[Any], image: Size) -> tuple[Points, list[int]] | None:
        """Return the corners of all boxes (n, 4, 2) and their labels, if nothing about them is unusual.

        These are the checks and operations of `_box`, on all boxes at once.
        """
        least = _NUMBERS + bool(self._labels)
        if not all(type(value) is list and least <= len(value) <= _NUMBERS + 2 for value in values):
            return None
        if not all(type(number) is float or type(number) is int for value in values for number in value[:_NUMBERS]):
            return None
        try:
            columns = np.array([value[:_NUMBERS] for value in values], np.float64).reshape(-1, _NUMBERS).T
            labels = [self._labels.label("", value[_NUMBERS]) if self._labels else -1 for value in values]
        except (OverflowError, ItemError):
            return None
        left, top, right, bottom = self._sides(columns, image)
        good = (left < right) & (top < bottom) & (left >= -SLACK) & (top >= -SLACK)
        if not (good & (right <= image[1] + SLACK) & (bottom <= image[0] + SLACK)).all():
            return None
        left, top = np.where(left > 0.0, left, 0.0), np.where(top > 0.0, top, 0.0)
        right, bottom = np.where(right < image[1], right, image[1]), np.where(bottom < image[0], bottom, image[0])
        corners = np.stack([left, top, right, top, right, bottom, left, bottom], axis=1)
        return corners.reshape(-1, 4, 2), labels

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

    def _sides(self, numbers: Any, image: Size) -> tuple[Any, Any, Any, Any]:  # noqa: ANN401 - numbers, or arrays
        """Return left, top, right and bottom in pixels, of one box or of all."""
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

    def __init__(self, target: BoxesTarget, image: Size, corners: Points, labels: Sequence[int]) -> None:
        self._target, self._image, self._corners = target, image, corners.reshape(-1, 4, 2)
        self._labels = np.array(labels, np.int32)

    def write(self, program: Program, out: Sequence[Array], row: int) -> None:
        """Write what is left of the boxes, how many these are, and their classes."""
        bounds, visible = moved_bounds(program.moves, self._corners, self._image, program.size)
        found = bounds.astype(out[0].dtype)
        kept = visible >= self._target.min_visibility - ROUNDING
        kept &= visible >= 0.0
        kept &= (found[:, :2] < found[:, 2:]).all(axis=1)  # others are too thin for their type
        count = int(kept.sum())
        out[0][row][:count], out[0][row][count:] = found[kept], 0
        if self._target.classes is not None:
            out[2][row][:count], out[2][row][count:] = self._labels[kept], -1
        out[1][row] = count
