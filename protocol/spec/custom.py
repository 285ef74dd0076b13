"""The spec's custom transforms: functions that users publish, by name. Owns their fields.

Nothing executable is in a spec. What a transform makes of the schema stands here, not in its code, so that the sink and
the trainers, which have not installed it, know the samples as well as the workers that have.
"""

import math
from keyword import iskeyword
from typing import Annotated

from pydantic import Field, JsonValue, field_validator, model_validator

from penstock.protocol.spec.axes import Axes, Channels, check_axes
from penstock.protocol.spec.model import Model, Name

#: Fields that say which sample it is.
IDENTITY = ("item", "patch")


class Produced(Model):
    """A field of the sample as a custom transform leaves it."""

    dtype: str = Field(pattern=r"^(bool|u?int(8|16|32|64)|float(16|32|64))$")
    """Numpy's name of the element type."""
    shape: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = Field(max_length=7)
    """Shape of one sample; `[]` for a number."""
    axes: Axes = ""
    """Of an image, what the axes of `shape` are: h height, w width, c channels. Default: not said."""
    channels: Channels = ""
    """Of an image, what its channels are, in order: gray; red, green, blue; or these and alpha. Default: not said."""

    @model_validator(mode="after")
    def _axes_fit(self) -> "Produced":
        check_axes(self.axes, self.channels, self.shape)
        return self


class Custom(Model):
    """A function `(sample, rng, **parameters) -> sample` of a package that is installed on the workers.

    It is published as an entry point in group `penstock.transforms`; see custom_transforms.md.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    """Name of the entry point."""
    version: str | None = Field(default=None, min_length=1, max_length=64)
    """Version of the package that publishes it: a worker with another one refuses to start. Default: any."""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments: strings, finite numbers, booleans, lists and tables."""
    produces: dict[Name, Produced] = Field(default_factory=dict)
    """Fields that it adds or returns with another dtype or shape; all others come back as they were described."""

    @field_validator("parameters")
    @classmethod
    def _are_keyword_arguments(cls, parameters: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name, value in parameters.items():
            if not name.isidentifier() or iskeyword(name):
                raise ValueError(f"parameter {name!r}: must be a name that a Python function can give a parameter")
            if not _finite(value):
                raise ValueError(f"parameter {name!r} = {value!r}: numbers must be finite")
        return parameters

    @field_validator("produces")
    @classmethod
    def _keep_identity(cls, produces: dict[str, Produced]) -> dict[str, Produced]:
        if forbidden := [name for name in IDENTITY if name in produces]:
            raise ValueError(f"{forbidden[0]!r} says which sample it is and stays as it is: take another name")
        return produces


def _finite(value: JsonValue) -> bool:
    match value:
        case float():
            return math.isfinite(value)
        case list():
            return all(map(_finite, value))
        case dict():
            return all(map(_finite, value.values()))
        case _:
            return True
