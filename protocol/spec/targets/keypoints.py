"""The target kind "keypoints": named points of objects, with their visibility."""

from typing import Literal, Self

from pydantic import Field, model_validator

from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.targets.target import Target


class KeypointsTarget(Target):
    """Named points, a list of `[x, y]` or `[x, y, visibility]` in each cell, in the order of `points`; as JSON in text.

    A flat list `[x, y, visibility, x, y, visibility, …]`, as in COCO, is taken too. Two fields: NAME, float32 (number
    of points, 2), x and y in pixels of the sample's image; and NAME_visible, uint8 (number of points): 0 not labelled,
    or not in the sample, and then x and y are 0; 1 labelled but hidden by something; 2 visible. With `max_objects`, a
    cell holds a list with the points of each object, both fields have an axis more, and NAME_count, int32, is the
    number of objects; an object keeps its place in the list, even if none of its points is in the sample.
    """

    kind: Literal["keypoints"]
    """Says that these are keypoints."""
    points: tuple[str, ...] = Field(min_length=1, max_length=1000)
    """Name of each point, in the order in which the cells list them."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Points that exchange their places where a sample is mirrored, such as `[["left eye", "right eye"]]`."""
    normalized: bool = False
    """Whether x and y are fractions of the image's width and height; false: pixels."""
    max_objects: int | None = Field(default=None, ge=1, le=10_000)
    """Objects that a sample has room for. An image with more is quarantined. Default: a cell holds the points of one
    object."""

    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return the points, their visibility and maybe the number of objects."""
        del image
        objects = () if self.max_objects is None else (self.max_objects,)
        count = {f"{name}_count": Produced(dtype="int32", shape=())} if objects else {}
        return {
            name: Produced(dtype="float32", shape=(*objects, len(self.points), 2)),
            f"{name}_visible": Produced(dtype="uint8", shape=(*objects, len(self.points))),
        } | count

    @property
    def mirrored(self) -> tuple[int, ...]:
        """The place of the point that each point takes where a sample is mirrored."""
        order = list(range(len(self.points)))
        for pair in self.pairs:
            left, right = map(self.points.index, pair)
            order[left], order[right] = right, left
        return tuple(order)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if len(set(self.points)) < len(self.points):
            raise ValueError("points has a name twice: give each point a name of its own")
        paired = [name for pair in self.pairs for name in pair]
        if unknown := [name for name in paired if name not in self.points]:
            raise ValueError(f"pairs has {unknown[0]!r}, and points has no such name: {', '.join(self.points)}")
        if len(set(paired)) < len(paired):
            raise ValueError("pairs has a name twice: a point has one counterpart")
        return self
