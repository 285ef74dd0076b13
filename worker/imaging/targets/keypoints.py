"""Keypoints: reads them from a cell, checks them and moves them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Points
from penstock.protocol.spec.targets.keypoints import KeypointsTarget
from penstock.protocol.wire import Array
from penstock.worker.imaging.program import Program
from penstock.worker.imaging.targets.base import SLACK, LoadedTarget, TargetLoader
from penstock.worker.imaging.targets.cells import finite, list_of, shown
from penstock.worker.imaging.targets.moving import moved_points, reflected

#: What a point says of its visibility, as in COCO: not labelled, labelled but hidden, visible.
_STATES = (0, 1, 2)
_HIDDEN, _VISIBLE = 1, 2
_FORM = "a list of [x, y, visibility]"
_XY, _XYV = 2, 3


class KeypointsLoader(TargetLoader):
    """Loads keypoints."""

    def __init__(self, target: KeypointsTarget) -> None:
        """Take the target's fields in the spec."""
        self._target = target
        self._mirrored = np.array(target.mirrored)

    def load(self, cell: str, content: bytes | ItemError | None, image: Size) -> LoadedTarget:
        """Return the keypoints of an image."""
        del content
        most, objects = self._target.max_objects, list_of(cell, _FORM)
        if most is None:
            objects = [objects] if objects else []
        elif len(objects) > most:
            raise ItemError(f"{len(objects)} objects, and max_objects = {most}: raise max_objects")
        found = [
            self._object(f"object {place}, " if most is not None else "", each, image)
            for place, each in enumerate(objects)
        ]
        return _Keypoints(found, self._mirrored, image)

    def _object(self, where: str, values: object, image: Size) -> tuple[Points, npt.NDArray[np.uint8]]:
        """Return the places and the visibility of one object's points."""
        names, entries = self._target.points, self._entries(where, values)
        places, visible = np.zeros((len(names), 2)), np.zeros(len(names), np.uint8)
        for point, (name, entry) in enumerate(zip(names, entries, strict=True)):
            at = f"{where}{name} = {shown(entry)}"
            if not isinstance(entry, list) or len(entry) not in (_XY, _XYV):
                raise ItemError(f"{at}: must be [x, y] or [x, y, visibility]")
            state = entry[_XY] if len(entry) == _XYV else _VISIBLE
            if isinstance(state, bool) or state not in _STATES:
                raise ItemError(f"{at}: visibility {state!r} must be 0 (not labelled), 1 (hidden) or 2 (visible)")
            if state:
                places[point] = self._place(at, entry, image)
                visible[point] = int(state)
        return places, visible

    def _entries(self, where: str, values: object) -> list[Any]:
        """Return one entry for each point, also of a flat list."""
        count = len(self._target.points)
        if not isinstance(values, list):
            raise ItemError(f"{where}{shown(values)!r} is no list: give {_FORM} for each of {count} points")
        if len(values) == _XYV * count and not any(isinstance(value, list) for value in values):
            return [values[at : at + _XYV] for at in range(0, len(values), _XYV)]
        if len(values) != count:
            raise ItemError(f"{where}{len(values)} points, and the spec names {count}: {shown(self._target.points)}")
        return values

    def _place(self, where: str, entry: Sequence[object], image: Size) -> tuple[float, float]:
        x, y = (finite(where, number) for number in entry[:_XY])
        if self._target.normalized:
            x, y = x * image[1], y * image[0]
        if not (-SLACK <= x <= image[1] + SLACK and -SLACK <= y <= image[0] + SLACK):
            raise ItemError(
                f"{where}: ({x:g}, {y:g}) (x, y) lies outside of the image, which has {image[1]} × {image[0]} pixels "
                f"(width × height): is normalized = {str(self._target.normalized).lower()} right?"
            )
        return min(max(0.0, x), float(image[1])), min(max(0.0, y), float(image[0]))


class _Keypoints(LoadedTarget):
    """The keypoints of one image."""

    def __init__(
        self, objects: Sequence[tuple[Points, npt.NDArray[np.uint8]]], mirrored: npt.NDArray[np.int64], image: Size
    ) -> None:
        self._objects, self._mirrored, self._image = objects, mirrored, image

    def write(self, program: Program, out: Sequence[Array], row: int) -> None:
        """Write the points that the sample shows, their visibility and maybe the number of objects."""
        count = self._mirrored.size
        places, visible = out[0][row].reshape(-1, count, 2), out[1][row].reshape(-1, count)
        places[...], visible[...] = 0, 0
        mirrored = reflected(program.moves)
        for place, (points, states) in enumerate(self._objects):
            labelled = np.flatnonzero(states)
            found, kept = moved_points(program.moves, points[labelled], self._image)
            at = labelled[kept]
            goal = self._mirrored[at] if mirrored else at
            places[place, goal], visible[place, goal] = found[kept], states[at]
        if len(out) > 2:  # noqa: PLR2004 - with max_objects, the third field is the count
            out[2][row] = len(self._objects)
