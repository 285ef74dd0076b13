"""The target kind "image": a further image that goes through the same geometry."""

from typing import Literal

from pydantic import Field, field_validator

from penstock.protocol.spec.axes import CHANNELS
from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.source import confined
from penstock.protocol.spec.targets.target import Target


class ImageTarget(Target):
    """A further image, such as the right one of a pair or the one after a change, whose path is in each cell.

    It has the size of the image, and is cut, turned and mirrored as that is. One field: NAME, uint8 (height, width,
    channels), levels that `normalize` leaves alone.
    """

    kind: Literal["image"]
    """Says that this is an image."""
    folder: str = ""
    """Folder below the source's root that the paths are relative to."""
    color: Literal["rgb", "gray", "rgba"] = "rgb"
    """Channels of the image: 3, 1, or 4."""
    colors: Literal["own", "none"] = Field(default="own")
    """Steps that change colours: `own`, with random numbers of this image's own; `none`: they leave it alone. Steps
    that may do either, such as `rand_augment` and `one_of`, do to it what they do to the image, or with `none` only
    their geometry."""

    _stays_inside = field_validator("folder")(confined)

    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return the image."""
        shape = (*image, CHANNELS[self.color])
        return {name: Produced(dtype="uint8", shape=shape, axes="hwc", channels=self.color)}

    @property
    def files_in(self) -> str:
        """The images' folder."""
        return self.folder
