"""Polygons and oriented boxes: reads them, checks them and moves them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Points
from penstock.protocol.spec.targets.polygons import OrientedBoxesTarget, PolygonsTarget
from penstock.protocol.wire import Array
from penstock.worker.imaging.program import Program
from penstock.worker.imaging.targets.annotation_files import Named, objects_of, yolo_objects
from penstock.worker.imaging.targets.base import ROUNDING, SLACK, LoadedTarget, TargetLoader
from penstock.worker.imaging.targets.cells import ClassNames, check_boxes, finite, list_of, shown
from penstock.worker.imaging.targets.moving import moved_corners, moved_outline, moved_polygon
from penstock.worker.imaging.targets.polygons import area, simplified

_LEAST_NUMBERS, _BOX_NUMBERS = 6, 8


@dataclass(frozen=True, slots=True)
class _Outline:
    corners: Points
    label: int
    #: Place of the object in its cell.
    place: int


class _Reader:
    """What reading polygons and oriented boxes shares."""

    def __init__(self, target: PolygonsTarget | OrientedBoxesTarget, form: str) -> None:
        self._target, self._form = target, form
        self._from_file = target.files_in is not None
        self._normalized = target.normalized or self._from_file
        self.names = ClassNames(target.classes or ())

    def named(self, cell: str, content: bytes | ItemError | None) -> Sequence[Named]:
        """Return the objects as they are written, each with its name for messages. Raises ItemError."""
        if self._from_file:
            return objects_of(yolo_objects, cell, content)
        values = list_of(cell, f"a list of {self._form}")
        return [(f"object {place} = {shown(value)}", value) for place, value in enumerate(values)]

    def corners(self, where: str, numbers: Sequence[object], image: Size) -> Points:
        """Return corners that lie in an image, given as x, y, x, y and so on. Raises ItemError."""
        places = np.array([finite(where, number) for number in numbers], np.float64).reshape(-1, 2)
        edge = np.array([image[1], image[0]], np.float64)
        if self._normalized:
            places = places * edge
        if (places < -SLACK).any() or (places > edge + SLACK).any():
            raise ItemError(
                f"{where}: reaches outside of the image, which has {image[1]} × {image[0]} pixels (width × height): is "
                f"normalized = {str(self._normalized).lower()} right?"
            )
        places = np.clip(places, 0.0, edge)
        if not area(places):
            raise ItemError(f"{where}: has no area")
        return places


class PolygonsLoader(TargetLoader):
    """Loads polygons."""

    def __init__(self, target: PolygonsTarget) -> None:
        """Take the target's fields in the spec."""
        self._target = target
        self._form = "[class, [x, y, …], …]" if target.classes else "[[x, y, …], …]"
        self._reader = _Reader(target, self._form)

    def load(self, cell: str, content: bytes | ItemError | None, image: Size) -> LoadedTarget:
        """Return the polygons of an image."""
        found = [
            outline
            for place, (where, value) in enumerate(self._reader.named(cell, content))
            for outline in self._parts(place, where, value, image)
        ]
        if len(found) > (most := self._target.max_polygons):
            raise ItemError(f"{len(found)} polygons, and max_polygons = {most}: raise max_polygons")
        return _Polygons(self._target, image, found)

    def _parts(self, place: int, where: str, value: Any, image: Size) -> list[_Outline]:  # noqa: ANN401 - JSON
        label = -1
        if self._target.files_in is not None:  # a line: the corners, and the class
            *numbers, given = value
            label = self._reader.names.label(where, given) if self._reader.names else -1
            value = [numbers]
        elif self._reader.names and isinstance(value, list) and value:
            label = self._reader.names.label(where, value[0])
            value = value[1:]
        if not isinstance(value, list) or not value or not all(_is_part(part) for part in value):
            raise ItemError(f"{where}: must be {self._form}, with three corners or more in each part")
        corners = [self._reader.corners(where, part, image) for part in value]
        return [_Outline(simplified(each, self._target.max_points), label, place) for each in corners]


def _is_part(part: object) -> bool:
    return isinstance(part, list) and len(part) >= _LEAST_NUMBERS and len(part) % 2 == 0


class _Polygons(LoadedTarget):
    """The polygons of one image."""

    def __init__(self, target: PolygonsTarget, image: Size, outlines: Sequence[_Outline]) -> None:
        self._target, self._image, self._outlines = target, image, outlines

    def write(self, program: Program, out: Sequence[Array], row: int) -> None:
        """Write what is left of the polygons."""
        places, points, objects = (array[row] for array in out[:3])
        places[...], points[...], objects[...], count = 0, 0, -1, 0
        labels = out[4][row] if self._target.classes is not None else None
        if labels is not None:
            labels[...] = -1
        for outline in self._outlines:
            corners, visible = moved_outline(program.moves, outline.corners, self._image)
            if not len(corners) or visible < self._target.min_visibility - ROUNDING:
                continue
            corners = simplified(corners, self._target.max_points)
            places[count, : len(corners)] = corners
            points[count], objects[count] = len(corners), outline.place
            if labels is not None:
                labels[count] = outline.label
            count += 1
        out[3][row] = count


class OrientedBoxesLoader(TargetLoader):
    """Loads oriented boxes."""

    def __init__(self, target: OrientedBoxesTarget) -> None:
        """Take the target's fields in the spec."""
        self._target = target
        self._form = "[x, y, x, y, x, y, x, y" + (", class]" if target.classes else "]")
        self._reader = _Reader(target, self._form)

    def load(self, cell: str, content: bytes | ItemError | None, image: Size) -> LoadedTarget:
        """Return the boxes of an image."""
        named = self._reader.named(cell, content)
        check_boxes(len(named), self._target.max_boxes)
        found = [self._box(place, where, value, image) for place, (where, value) in enumerate(named)]
        return _OrientedBoxes(self._target, image, found)

    def _box(self, place: int, where: str, value: Any, image: Size) -> _Outline:  # noqa: ANN401 - JSON
        has_class = bool(self._reader.names)
        if not isinstance(value, list) or not _BOX_NUMBERS + has_class <= len(value) <= _BOX_NUMBERS + 1:
            raise ItemError(f"{where}: must be {self._form}")
        label = self._reader.names.label(where, value[-1]) if has_class else -1
        corners = self._reader.corners(where, value[:_BOX_NUMBERS], image)
        return _Outline(corners, label, place)


class _OrientedBoxes(LoadedTarget):
    """The oriented boxes of one image."""

    def __init__(self, target: OrientedBoxesTarget, image: Size, boxes: Sequence[_Outline]) -> None:
        self._target, self._image, self._boxes = target, image, boxes

    def write(self, program: Program, out: Sequence[Array], row: int) -> None:
        """Write the boxes that the sample shows, how many these are, and their classes."""
        places, count = out[0][row], 0
        labels = out[2][row] if self._target.classes is not None else None
        places[...] = 0
        if labels is not None:
            labels[...] = -1
        for box in self._boxes:
            visible = moved_polygon(program.moves, box.corners, self._image)[1]
            corners = moved_corners(program.moves, box.corners, self._image)
            if not visible or visible < self._target.min_visibility - ROUNDING or not np.isfinite(corners).all():
                continue
            places[count] = corners
            if labels is not None:
                labels[count] = box.label
            count += 1
        out[1][row] = count
