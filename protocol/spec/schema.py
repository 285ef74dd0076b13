"""The schema of a stream's samples: which fields they have, of which type and shape, as its spec alone says."""

import math
from typing import Protocol

import numpy as np
from pydantic import ConfigDict, Field

from penstock.protocol.spec.axes import Axes, Channels
from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.model import Model, Name
from penstock.protocol.spec.source import MIXTURE, Source
from penstock.protocol.spec.targets.placed import PlacedTarget
from penstock.protocol.spec.transform import Transform


class SampleSettings(Protocol):
    """The part of a stream's settings that its schema follows from."""

    @property
    def source(self) -> Source:
        """Where the items come from."""
        ...

    @property
    def transform(self) -> Transform:
        """What a worker makes of each item."""
        ...

    @property
    def placed_targets(self) -> tuple[PlacedTarget, ...]:
        """The targets of a sample, each with the image that it goes with."""
        ...


class FieldSchema(Model):
    """One field of a sample."""

    model_config = ConfigDict(strict=True)

    name: Name
    """Name, such as `image`."""
    dtype: str = Field(pattern=r"^(bool|u?int(8|16|32|64)|float(16|32|64))$")
    """Numpy's name of the element type."""
    shape: tuple[int, ...] = Field(max_length=8)
    """Shape of one sample, without the batch axis."""
    axes: Axes = ""
    """Of an image, the axes of `shape`: `hwc` (height, width, channels), `chw`, or `hw`. The `frames` of messages leave
    it and `channels` out, since both sides know them from the plan."""
    channels: Channels = ""
    """Of an image, its channels in order: `gray`, `rgb` or `rgba`."""

    @classmethod
    def of(cls, name: str, made: Produced) -> "FieldSchema":
        """Return a field as a custom transform leaves it."""
        return cls(name=name, dtype=made.dtype, shape=made.shape, axes=made.axes, channels=made.channels)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample's field."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)


def schema_of(stream: SampleSettings) -> tuple[FieldSchema, ...]:
    """Return the fields of a stream's samples: those of `schema_before`, as the spec's custom transforms leave them."""
    fields = {field.name: field for field in schema_before(stream)}
    for custom in stream.transform.custom:
        fields |= {name: FieldSchema.of(name, made) for name, made in custom.produces.items()}
    return tuple(fields.values())


def schema_before(stream: SampleSettings) -> tuple[FieldSchema, ...]:
    """Return the fields of a stream's samples before custom transforms.

    `image` uint8 (height, width, channels), the channels those of `transform.color`, unless the worker normalises it
    (`transform.normalize` gives type and axes); `label` int32, the class index; `item` int64, the item's index in the
    whole source; `patch` int32, which of the item's patches; and with manipulations `manipulation` int32, 0 for the
    unchanged image, then by their order in the spec. With `manipulations.every` an image for each of their names stands
    in place of `image` and `manipulation`; with `views`, their images stand in place of `image`. Targets follow, each
    with the fields of its kind; of a mixture, `source` int32, the part of it that the item comes from, by the order of
    the spec.
    """
    transform = stream.transform
    fields = (
        *(
            FieldSchema(name=name, dtype=dtype, shape=shape, axes=transform.image_axes, channels=transform.color)
            for name in transform.image_names
            for dtype, shape in [transform.image_field(name)]
        ),
        FieldSchema(name="label", dtype="int32", shape=()),
        FieldSchema(name="item", dtype="int64", shape=()),
        FieldSchema(name="patch", dtype="int32", shape=()),
        *(FieldSchema.of(field, made) for placed in stream.placed_targets for field, made in placed.fields.items()),
    )
    if stream.source.kind_name == MIXTURE:
        fields = (*fields, FieldSchema(name="source", dtype="int32", shape=()))
    if transform.manipulations is None or transform.manipulations.every:
        return fields
    return (*fields, FieldSchema(name="manipulation", dtype="int32", shape=()))
