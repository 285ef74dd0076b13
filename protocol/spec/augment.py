"""The spec's random changes of a sample. Owns their fields.

Names, defaults and meanings are those of Keras's retired `ImageDataGenerator`; what it refuses is refused here too.
"""

from typing import Annotated, Literal

from pydantic import Field, StrictFloat, StrictInt, field_validator

from penstock.protocol.spec.model import Model

#: Longest side (pixels) of a sample that is turned, shifted, sheared or zoomed: OpenCV's places have 16 bits, and below
#: this side the worker's rounding to 1/256 pixel is exact.
MAX_WARPED_SIDE = 16_000

Finite = Annotated[float, Field(allow_inf_nan=False)]
_Int = StrictInt
_Float = Annotated[StrictFloat, Field(allow_inf_nan=False)]
#: A number or a list of numbers: 1 and 1.0 mean different things, so neither is converted.
Shift = _Int | _Float | Annotated[tuple[_Int | _Float, ...], Field(min_length=1)]
Fill = Literal["nearest", "constant", "reflect", "wrap"]


class Augment(Model):
    """Random changes, drawn per sample from uniform distributions; all geometry is done as one warp."""

    rotation_range: Finite = 0.0
    """Degrees: turn about the centre by an angle of [-range, range]."""
    width_shift_range: Shift = 0.0
    """Horizontal shift. A float below 1: a fraction of the width, of [-range, range]; a float of 1 or more: pixels, of
    [-range, range]; an integer n: whole pixels, of -(n - 1) to n - 1; a list: one of its values with a random sign, a
    fraction of the width if all are below 1, else pixels."""
    height_shift_range: Shift = 0.0
    """Vertical shift, as `width_shift_range`, of the height."""
    brightness_range: tuple[Finite, Finite] | None = None
    """Factor that brightness is multiplied by, from low to high; 1 changes nothing. What exceeds 255 is cut."""
    shear_range: Finite = 0.0
    """Degrees: shear by an angle of [-range, range]."""
    zoom_range: Finite | tuple[Finite, Finite] = 0.0
    """Zoom of height and width, drawn apart: of [1 - range, 1 + range], or [low, high]. Below 1 enlarges."""
    channel_shift_range: Finite = 0.0
    """Levels added to all values: of [-range, range]; what leaves the sample's own lowest to highest value is cut."""
    fill_mode: Fill = "nearest"
    """What lies outside the image: `nearest` aaa|abcd|ddd, `constant` kkk|abcd|kkk (`cval`), `reflect` cba|abcd|dcb,
    `wrap` bcd|abcd|abc (the last pixel's centre falls on the first one's, as in SciPy)."""
    cval: Finite = 0.0
    """Level outside the image for `fill_mode = "constant"`, rounded to a whole one of 0 to 255."""
    horizontal_flip: bool = False
    """Mirror left and right with probability one half."""
    vertical_flip: bool = False
    """Mirror top and bottom with probability one half."""
    interpolation_order: int = Field(default=1, ge=0, le=5)
    """Degree of the spline that is sampled: 0 nearest, 1 linear (the fast ones), 2 to 5 B-splines (50 to 80 times
    slower, about as SciPy's)."""
    axes: Literal["image", "keras"] = "image"
    """`image`: shifts and centre as documented above. `keras`: as Keras 3 computes them, where height and width are
    exchanged: `height_shift_range` moves to the sides, and images that are not square turn about another point."""

    @field_validator("width_shift_range", "height_shift_range")
    @classmethod
    def _not_negative(cls, value: Shift) -> Shift:
        if not isinstance(value, tuple) and value < 0:
            raise ValueError(f"{value!r} is negative: the shift goes both ways, so give its size")
        return value

    @property
    def zoom(self) -> tuple[float, float]:
        """The lowest and the highest zoom."""
        if isinstance(self.zoom_range, tuple):
            return self.zoom_range
        return 1.0 - self.zoom_range, 1.0 + self.zoom_range

    def check(self, height: int, width: int) -> None:
        """Raise ValueError if samples of this size cannot be changed so."""
        if self.warps and max(height, width) > MAX_WARPED_SIDE:
            raise ValueError(
                f"samples of {width} × {height} pixels are too large to be turned, shifted, sheared or zoomed: at most "
                f"{MAX_WARPED_SIDE} pixels a side"
            )

    def check_levels(self) -> None:
        """Raise ValueError if 8-bit samples cannot be filled so; floating-point ones can, with any value."""
        if self.fills and not 0 <= self.cval <= 255:  # noqa: PLR2004 - 8 bits
            raise ValueError(f"cval = {self.cval!r}: samples have levels of 0 to 255, so fill with one of these")

    @property
    def fills(self) -> bool:
        """Whether `cval` can be seen."""
        return self.fill_mode == "constant" and self.warps

    @property
    def warps(self) -> bool:
        """Whether anything but a flip moves pixels."""
        shifts = (self.height_shift_range, self.width_shift_range)
        return bool(self.rotation_range or any(shifts) or self.shear_range or self.zoom != (1.0, 1.0))
