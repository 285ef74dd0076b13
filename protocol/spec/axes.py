"""Names of an image's axes and channels, in the spec and in the schema."""

from typing import Literal

#: The axes of an array in order: h height, w width, c channels; none if they are not given or it is no image.
Axes = Literal["", "hwc", "chw", "hw"]
#: The channels in order; none if they are not given or are no colours.
Channels = Literal["", "gray", "rgb", "rgba"]

#: How many channels there are.
CHANNELS = {"gray": 1, "rgb": 3, "rgba": 4}


def check_axes(axes: Axes, channels: Channels, shape: tuple[int, ...]) -> None:
    """Raise ValueError if an array of this shape cannot have these axes and channels."""
    if axes and len(axes) != len(shape):
        raise ValueError(
            f"axes = {axes!r} names {len(axes)} axes, but shape = {list(shape)} has {len(shape)}: name each of them"
        )
    if channels and not axes:
        raise ValueError(f'channels = {channels!r} needs axes = "hwc", "chw" or "hw"')
    if channels and CHANNELS[channels] != (found := shape[axes.index("c")] if "c" in axes else 1):
        raise ValueError(
            f"channels = {channels!r} means {CHANNELS[channels]} channel(s), but shape = {list(shape)} with axes = "
            f"{axes!r} has {found}"
        )
