"""The target kind "mask": the class of every pixel."""

from typing import Literal

from pydantic import Field, field_validator

from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.source import confined
from penstock.protocol.spec.targets.target import Target


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
