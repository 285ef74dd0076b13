"""The target kind "boxes": rectangles around objects, with their classes."""

from typing import Literal

from pydantic import Field, field_validator

from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.targets.target import Target, distinct


class BoxesTarget(Target):
    """Boxes of objects, a list of `[x, y, x, y]` or `[x, y, x, y, class]` in each cell; as JSON where cells are text.

    Three fields: NAME, float32 (`max_boxes`, 4), left, top, right and bottom in pixels of the sample's image;
    NAME_count, int32, how many of them are boxes: the rest is 0; and with `classes` NAME_label, int32 (`max_boxes`), -1
    after the last box. A box that is turned becomes the rectangle around it.
    """

    kind: Literal["boxes"]
    """Says that these are boxes."""
    format: Literal["xyxy", "xywh", "cxcywh", "yolo", "voc"] = "xyxy"
    """The four numbers: left, top, right, bottom; left, top, width, height; or middle (x, y), width, height. With
    `yolo` and `voc`, cells hold the paths of annotation files below the root: text or XML."""
    normalized: bool = False
    """Whether they are fractions of the image's width and height, as in YOLO's files; false: pixels."""
    max_boxes: int = Field(default=100, ge=1, le=10_000)
    """Boxes that a sample has room for. An image with more is quarantined."""
    min_visibility: float = Field(default=0.0, ge=0, le=1)
    """Boxes are cut where the image is, and dropped if less than this fraction of their area is left."""
    classes: tuple[str, ...] | None = None
    """Names of the boxes' classes in label order. Each box ends with its class then: the name, or its number here. A
    sixth value names the box in messages."""

    _differ = field_validator("classes")(distinct)

    @property
    def files_in(self) -> str | None:
        """The root, if cells name annotation files."""
        return "" if self.format in ("yolo", "voc") else None

    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return boxes, their number and maybe their classes."""
        del image
        labels = {f"{name}_label": Produced(dtype="int32", shape=(self.max_boxes,))} if self.classes is not None else {}
        return {
            name: Produced(dtype="float32", shape=(self.max_boxes, 4)),
            f"{name}_count": Produced(dtype="int32", shape=()),
        } | labels
