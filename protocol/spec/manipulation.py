"""The spec's manipulations: labelled changes of a whole image, of which a sample shows one or all. Owns their fields.

Refuses to know pixels. A manipulation is known by its index: 0 is the unchanged image, then those of the preset, then
those of the spec, in order.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock.protocol.spec.model import Model

Size = tuple[int, int]
"""Height and width in pixels."""


class _Manipulation(Model):
    weight: float = Field(default=1.0, gt=0, le=1e6)
    """How often it is chosen, relative to the other weights."""

    def size(self, image: Size) -> Size:
        """Return what an image's size becomes, before any turn."""
        return image

    def unturned(self, patch: Size) -> Size:
        """Return the size of what is cut from the manipulated image, before any turn, to become such a patch."""
        return patch

    def least(self, patch: Size) -> Size:
        """Return the least size of an image that yields such a patch."""
        return self.unturned(patch)

    def cell(self, patch: Size, _: Size, /) -> Size:
        """Return the part of an image, whose size comes second, that holds such a patch wherever that part begins."""
        return self.unturned(patch)


class Gamma(_Manipulation):
    """Gamma correction: each value v of 0 to 255 becomes 255 · (v / 255)^value, rounded half up."""

    kind: Literal["gamma"]
    """Kind of the manipulation."""
    value: float = Field(gt=0, le=100, allow_inf_nan=False)
    """The exponent; below 1 brightens, above 1 darkens."""

    @property
    def name(self) -> str:
        """Short name, such as `gamma08`."""
        return f"gamma{_digits(self.value)}"


class Jpeg(_Manipulation):
    """JPEG compression and decompression: libjpeg's tables for the quality, chroma halved both ways (4:2:0)."""

    kind: Literal["jpeg"]
    """Kind of the manipulation."""
    value: int = Field(ge=1, le=100)
    """Quality, 1 to 100."""

    @property
    def name(self) -> str:
        """Short name, such as `qf70`."""
        return f"qf{self.value}"


class Rescale(_Manipulation):
    """Bicubic resizing, as Pillow's BICUBIC does it (it widens with the reduction: antialias)."""

    kind: Literal["resize"]
    """Kind of the manipulation."""
    value: float = Field(ge=0.05, le=20, allow_inf_nan=False)
    """The factor; both sides become side × factor, rounded half up, at least 1 pixel."""

    @property
    def name(self) -> str:
        """Short name, such as `bicubic05`."""
        return f"bicubic{_digits(self.value)}"

    def size(self, image: Size) -> Size:
        """Return what an image's size becomes."""
        return self._side(image[0]), self._side(image[1])

    def least(self, patch: Size) -> Size:
        """Return the least size of an image that yields such a patch."""
        return self._least(patch[0]), self._least(patch[1])

    def cell(self, patch: Size, image: Size, /) -> Size:
        """Return the part of an image, whose size comes second, that holds such a patch wherever that part begins."""
        return self._cell(patch[0], image[0]), self._cell(patch[1], image[1])

    def _side(self, pixels: int) -> int:
        return max(1, int(pixels * self.value + 0.5))

    def _least(self, pixels: int) -> int:
        if pixels == 1:
            return 1
        side = max(1, int((pixels - 0.5) / self.value) - 1)  # rounding makes this a guess, and never too large
        while self._side(side) < pixels:
            side += 1
        return side

    def _cell(self, patch: int, side: int) -> int:
        after = self._side(side)
        return patch if after == side else min(side, -(-(patch + 1) * side // after))


class Rotate(_Manipulation):
    """Rotation by quarter turns, counter-clockwise, as numpy's rot90."""

    kind: Literal["rot90"]
    """Kind of the manipulation."""
    turns: int = Field(default=1, ge=1, le=3)
    """Quarter turns."""

    @property
    def name(self) -> str:
        """Short name, such as `rot90`."""
        return f"rot{90 * self.turns}"

    def unturned(self, patch: Size) -> Size:
        """Return the size of what becomes such a patch when it is turned."""
        return (patch[1], patch[0]) if self.turns % 2 else patch


Manipulation = Annotated[Gamma | Jpeg | Rescale | Rotate, Field(discriminator="kind")]

#: The manipulations of each preset. Those of the IEEE Signal Processing Cup 2018 (camera model identification) in the
#: order in which its data sets are usually stored.
PRESETS: dict[str, tuple[Manipulation, ...]] = {
    "ieee-sp-cup-2018": (
        Gamma(kind="gamma", value=0.8),
        Gamma(kind="gamma", value=1.2),
        Jpeg(kind="jpeg", value=90),
        Jpeg(kind="jpeg", value=70),
        Rescale(kind="resize", value=0.5),
        Rescale(kind="resize", value=0.8),
        Rescale(kind="resize", value=1.5),
        Rescale(kind="resize", value=2.0),
    )
}


def largest(sizes: Iterable[Size]) -> Size:
    """Return the least size that holds all of them; at least one."""
    heights, widths = zip(*sizes, strict=True)
    return max(heights), max(widths)


class Manipulations(Model):
    """A random choice per sample, which the field `manipulation` names: 0 unchanged, then the preset's, then `choices`.

    Or, with `every`, all of them. A patch is what would be cut from the manipulated whole image, pixel by pixel, though
    only its part is computed.
    """

    preset: Literal["ieee-sp-cup-2018"] | None = None
    """`ieee-sp-cup-2018`: gamma 0.8, 1.2; JPEG quality 90, 70; bicubic 0.5, 0.8, 1.5, 2.0; each of weight 1."""
    choices: Annotated[tuple[Manipulation, ...], Field(max_length=256)] = ()
    """Manipulations, each a table with `kind` and its value: `gamma`, `jpeg`, `resize`, `rot90`; at most 256."""
    unchanged_weight: float = Field(default=1.0, ge=0, le=1e6)
    """How often the image stays unchanged, relative to the other weights."""
    every: bool = False
    """Choose none: each sample holds its patch under every manipulation, in place of `image` and `manipulation` in one
    field for each name (`img`, which is unchanged, `gamma08`, …), by index."""

    @model_validator(mode="after")
    def _names_differ(self) -> "Manipulations":
        if not self.all:
            raise ValueError(f"no manipulation at all: give preset = {next(iter(PRESETS))!r}, choices, or both")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"the same manipulation twice: {', '.join(twice)}; leave one out, or raise its weight")
        return self

    @model_validator(mode="after")
    def _weights_choose(self) -> "Manipulations":
        weights = {"unchanged_weight": self.unchanged_weight}
        weights |= {f"weight of {manipulation.name}": manipulation.weight for manipulation in self.all}
        for name, weight in weights.items() if self.every else ():
            if weight != 1.0:
                raise ValueError(f"every = true shows all and chooses none: leave out {name} = {weight:g}")
        return self

    @cached_property
    def all(self) -> tuple[Manipulation, ...]:
        """The manipulations, in the order of their indices from 1 on."""
        return (PRESETS[self.preset] if self.preset else ()) + self.choices

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Short names in the order of their indices: `img` for the unchanged image, then one a manipulation."""
        return ("img", *(manipulation.name for manipulation in self.all))

    def all_shown(self) -> "Manipulations":
        """Return the same manipulations with `every`, and therefore without weights."""
        choices = tuple(choice.model_copy(update={"weight": 1.0}) for choice in self.choices)
        return Manipulations(preset=self.preset, choices=choices, every=True)

    def choose(self, draw: float) -> int:
        """Return the index that a uniform of [0, 1) stands for: the weights, laid end to end, in order."""
        weights = (self.unchanged_weight, *(manipulation.weight for manipulation in self.all))
        place = draw * sum(weights)
        for index, weight in enumerate(weights):
            if place < weight:
                return index
            place -= weight
        return len(weights) - 1  # rounding


def _digits(value: float) -> str:
    """Return 0.8 as `08`, but what has more digits as `0_85` or `12_0`, so that no two values share a name."""
    text = repr(value)
    return text.replace(".", "" if len(text) == len("0.8") else "_")
