"""The spec's manipulations: labelled changes of a whole image, of which a sample shows one or all.

A manipulation is known by its index: 0 is the unchanged image, then those of the preset, then those of the spec, in
order. Each kind is defined in a module of its own (`operation_table.py`).
"""

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from penstock.protocol.spec.model import Model
from penstock.protocol.spec.operation import Manipulation, Size
from penstock.protocol.spec.operation_table import manipulation_models, one_of

_MODELS = manipulation_models()
if TYPE_CHECKING:
    AnyManipulation = Manipulation
else:
    AnyManipulation = one_of(_MODELS.values(), "kind")


def _preset(*kinds: tuple[str, Any]) -> tuple[Manipulation, ...]:
    return tuple(_MODELS[kind].model_validate({"kind": kind, "value": value}) for kind, value in kinds)


#: The manipulations of each preset. Those of the IEEE Signal Processing Cup 2018 (camera model identification) in the
#: order in which its data sets are usually stored.
PRESETS: dict[str, tuple[Manipulation, ...]] = {
    "ieee-sp-cup-2018": _preset(
        ("gamma", 0.8),
        ("gamma", 1.2),
        ("jpeg", 90),
        ("jpeg", 70),
        ("resize", 0.5),
        ("resize", 0.8),
        ("resize", 1.5),
        ("resize", 2.0),
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
    choices: Annotated[tuple[AnyManipulation, ...], Field(max_length=256)] = ()
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
