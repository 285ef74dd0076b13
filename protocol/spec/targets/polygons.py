"""The target kinds "polygons" and "oriented_boxes": outlines of objects, with their classes."""

from typing import Literal

from pydantic import Field, field_validator

from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.targets.target import Target, distinct


class OutlineTarget(Target):
    """Outlines of objects: what polygons and oriented boxes share."""

    min_visibility: float = Field(default=0.0, ge=0, le=1)
    """Outlines of which less than this fraction of their area lies in the sample are dropped."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in label order. Each outline names its class then, by its name or number here."""

    _differ = field_validator("classes")(distinct)


class PolygonsTarget(OutlineTarget):
    """Polygons around objects, a list of `[class, [x, y, x, y, …], …]` in each cell: an object may have several parts.

    Without `classes`, an object is `[[x, y, x, y, …], …]`. Each part is a polygon of its own. Four fields: NAME,
    float32 (`max_polygons`, `max_points`, 2), x and y of each corner in pixels of the sample's image; NAME_points,
    int32 (`max_polygons`), how many corners each has; NAME_object, int32 (`max_polygons`), the place of its object in
    the cell, -1 after the last polygon; NAME_count, int32; and with `classes` NAME_label, int32 (`max_polygons`).
    Polygons are cut where the image ends.
    """

    kind: Literal["polygons"]
    """Says that these are polygons."""
    format: Literal["list", "yolo"] = "list"
    """`list`: cells hold the objects. `yolo`: cells hold the paths of label files below the root, a class and the
    corners of one polygon in each line, as fractions of the image."""
    normalized: bool = False
    """Whether x and y are fractions of the image's width and height, as in YOLO's files; false: pixels."""
    max_polygons: int = Field(default=100, ge=1, le=10_000)
    """Polygons that a sample has room for. An image with more is quarantined."""
    max_points: int = Field(default=64, ge=4, le=4096)
    """Corners that a polygon has room for. Of one with more, those are left out that change its area least."""

    @property
    def files_in(self) -> str | None:
        """The root, if cells name label files."""
        return "" if self.format == "yolo" else None

    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return polygons, how many corners they have, their objects, their number and maybe their classes."""
        del image
        numbers = Produced(dtype="int32", shape=(self.max_polygons,))
        return {
            name: Produced(dtype="float32", shape=(self.max_polygons, self.max_points, 2)),
            f"{name}_points": numbers,
            f"{name}_object": numbers,
            f"{name}_count": Produced(dtype="int32", shape=()),
        } | ({f"{name}_label": numbers} if self.classes is not None else {})


class OrientedBoxesTarget(OutlineTarget):
    """Boxes at any angle, a list of their corners `[x, y, x, y, x, y, x, y]` in each cell, with `classes` and a class.

    Three fields: NAME, float32 (`max_boxes`, 4, 2), the corners in the order in which they are given, in pixels of the
    sample's image; NAME_count, int32; and with `classes` NAME_label, int32 (`max_boxes`), -1 after the last box. Boxes
    are not cut: corners may lie outside of the sample. After a perspective they are no rectangles any more.
    """

    kind: Literal["oriented_boxes"]
    """Says that these are boxes at any angle."""
    format: Literal["corners", "yolo"] = "corners"
    """`corners`: cells hold the boxes. `yolo`: cells hold the paths of label files below the root, a class and four
    corners in each line, as fractions of the image."""
    normalized: bool = False
    """Whether x and y are fractions of the image's width and height, as in YOLO's files; false: pixels."""
    max_boxes: int = Field(default=100, ge=1, le=10_000)
    """Boxes that a sample has room for. An image with more is quarantined."""

    @property
    def files_in(self) -> str | None:
        """The root, if cells name label files."""
        return "" if self.format == "yolo" else None

    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return corners, the number of boxes and maybe their classes."""
        del image
        labels = {f"{name}_label": Produced(dtype="int32", shape=(self.max_boxes,))} if self.classes is not None else {}
        return {
            name: Produced(dtype="float32", shape=(self.max_boxes, 4, 2)),
            f"{name}_count": Produced(dtype="int32", shape=()),
        } | labels
