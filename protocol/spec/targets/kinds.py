"""The spec's targets: what moves with the image, made of a manifest's columns.

What a target makes of the schema stands here, so that the sink and the trainers know it without an image library.
`worker/imaging/targets/` loads targets and moves them.
"""

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field, field_validator

from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.model import Model
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.source import confined

#: Longest name of a target: its fields add a suffix.
MOST_NAME = 48


class Target(Model):
    """A target of each image. The table's name is the name of its field; a kind may add further fields."""

    column: str = Field(min_length=1)
    """Column of the manifest that holds it."""

    @abstractmethod
    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return the fields of a target of this name, in order, for samples whose image has this height and width."""

    @property
    def files_in(self) -> str | None:
        """The folder below the root of the files whose paths the cells hold; None if the cells hold the target."""
        return None


class BoxesTarget(Target):
    """Boxes of objects, a list of `[x, y, x, y]` or `[x, y, x, y, class]` in each cell; as JSON where cells are text.

    Three fields: NAME, float32 (`max_boxes`, 4), left, top, right and bottom in pixels of the sample's image;
    NAME_count, int32, how many of them are boxes: the rest is 0; and with `classes` NAME_label, int32 (`max_boxes`), -1
    after the last box. A box that is turned becomes the rectangle around it.
    """

    kind: Literal["boxes"]
    """Says that these are boxes."""
    format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy"
    """The four numbers: left, top, right, bottom; left, top, width, height; or middle (x, y), width, height."""
    normalized: bool = False
    """Whether they are fractions of the image's width and height; false: pixels."""
    max_boxes: int = Field(default=100, ge=1, le=10_000)
    """Boxes that a sample has room for. An image with more is quarantined."""
    min_visibility: float = Field(default=0.0, ge=0, le=1)
    """Boxes are cut where the image is, and dropped if less than this fraction of their area is left."""
    classes: tuple[str, ...] | None = None
    """Names of the boxes' classes in label order. Each box ends with its class then: the name, or its number here."""

    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return boxes, their number and maybe their classes."""
        del image
        labels = {f"{name}_label": Produced(dtype="int32", shape=(self.max_boxes,))} if self.classes is not None else {}
        return {
            name: Produced(dtype="float32", shape=(self.max_boxes, 4)),
            f"{name}_count": Produced(dtype="int32", shape=()),
        } | labels

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and (not classes or len(set(classes)) < len(classes)):
            raise ValueError("name at least one class, and each once; or leave classes out if boxes have none")
        return classes


class MaskTarget(Target):
    """The class of every pixel, an image file (PNG, BMP or TIFF) of one channel, whose path is in each cell.

    One field: NAME, uint8 (height, width). Masks are moved to the nearest pixel. Levels are class numbers; those of a
    palette image are its indices.
    """

    kind: Literal["mask"]
    """Says that this is a mask."""
    folder: str = ""
    """Folder below the source's root that the paths are relative to."""
    classes: int = Field(ge=1, le=256)
    """Number of classes: pixels have classes from 0 to one less."""
    ignore: int = Field(default=255, ge=0, le=255)
    """Class of pixels that have none, in the files and where a sample shows nothing of the image."""

    _stays_inside = field_validator("folder")(confined)

    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return the mask."""
        return {name: Produced(dtype="uint8", shape=image, axes="hw")}

    @property
    def files_in(self) -> str:
        """The masks' folder."""
        return self.folder


#: The models by their `kind`.
KINDS: dict[str, type[Target]] = {"boxes": BoxesTarget, "mask": MaskTarget}
AnyTarget = Annotated[BoxesTarget | MaskTarget, Field(discriminator="kind")]
