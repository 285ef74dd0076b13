"""The spec's transform: what a worker makes of an image. Owns its fields; refuses to know pixels."""

from typing import Literal

from pydantic import Field, model_validator

from penstock.protocol.augment_spec import Augment
from penstock.protocol.model import Model

#: Filters of `resize`: the first six are Pillow's, which widen with the reduction (antialias); the others OpenCV's.
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "area", "linear", "cubic"]


class Resize(Model):
    """Resize the decoded image, before patches are cut."""

    height: int = Field(ge=1, le=65_535)
    """Height in pixels."""
    width: int = Field(ge=1, le=65_535)
    """Width in pixels."""
    filter: Filter = "bilinear"
    """Resampling filter."""
    fit: Literal["stretch", "cover"] = "stretch"
    """`stretch` ignores the aspect ratio; `cover` keeps it, and cuts what sticks out evenly from both sides."""


class Patch(Model):
    """Cut patches from the (resized) image."""

    kind: Literal["center", "random", "grid"] = "center"
    """`center`: one; `random`: uniform over all offsets; `grid`: rows × columns, evenly spaced, edge to edge."""
    height: int = Field(ge=1, le=65_535)
    """Height in pixels."""
    width: int = Field(ge=1, le=65_535)
    """Width in pixels."""
    rows: int = Field(default=1, ge=1)
    """Rows of the grid."""
    columns: int = Field(default=1, ge=1)
    """Columns of the grid."""


class Transform(Model):
    """What a worker makes of an image."""

    color: Literal["rgb", "gray"] = "rgb"
    """Channels of the result: 3 or 1."""
    exif_orientation: bool = False
    """Turn the image as its EXIF orientation tag says."""
    resize: Resize | None = None
    """Resize first; without it patches come from the full-size image."""
    patch: Patch | None = None
    """Cut patches; without it the whole resized image is the sample."""
    augment: Augment = Augment()
    """Random changes."""
    max_megapixels: float = Field(default=200.0, gt=0)
    """Images with more pixels than this (millions) are quarantined before they are decoded."""
    max_file_mb: float = Field(default=256.0, gt=0)
    """Files larger than this (MB, 10^6 bytes) are quarantined unread."""

    @model_validator(mode="after")
    def _size_is_fixed(self) -> "Transform":
        if self.resize is None and self.patch is None:
            raise ValueError("samples need one shape: give resize = {height, width}, patch = {height, width}, or both")
        if self.resize and self.patch:
            for side in ("height", "width"):
                if getattr(self.patch, side) > getattr(self.resize, side):
                    raise ValueError(
                        f"patch.{side} = {getattr(self.patch, side)} is larger than resize.{side} = "
                        f"{getattr(self.resize, side)}: make the patch smaller or the resized image larger"
                    )
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (height, width, channels) of a sample's image."""
        size = self.patch or self.resize
        assert size is not None  # noqa: S101 - _size_is_fixed
        return size.height, size.width, 3 if self.color == "rgb" else 1
