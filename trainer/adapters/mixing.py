"""Mixes the samples of a batch: mixup, CutMix, one-hot targets and label smoothing, in every framework.

The random numbers of a batch depend on its place in the stream alone. `Mix.draw` makes six numbers of them, which
travel with each sample as one more field; `mix_images` and `mix_labels` need no others. They run where the batch is: on
numpy arrays, or on tensors of TensorFlow, PyTorch or JAX, also on a device and in compiled functions.
`arrays.py` holds what the frameworks call differently, `trainer/feed/mixed.py` the feed that adds the field.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from penstock.protocol.errors import SpecError
from penstock.protocol.plan import FieldSchema
from penstock.protocol.wire import Array
from penstock.trainer.adapters.arrays import arrays_of
from penstock.worker.imaging.operations.parameters import decay, sine_cosine, waiting_time, whole

#: The field that says how a sample is mixed. Its six numbers are the sample's share of the pixels outside the box, its
#: share of the target, and the box (top, bottom, left, right) whose pixels are the other sample's.
MIX = FieldSchema(name="mix", dtype="float32", shape=(6,))
#: Uniform numbers of a batch: whether it is mixed, whether by CutMix, two for the share, the row and the column.
UNIFORMS = 6
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Mix:
    """How batches are mixed: the settings of `penstock.MixedFeed`."""

    #: Alpha of mixup; 0 for none. The share of a sample is drawn from Beta(alpha, alpha).
    mixup: float = 0.0
    #: Alpha of CutMix; 0 for none. The box covers 1 - share of the image before it is cut off at the edges.
    cutmix: float = 0.0
    #: Probability of CutMix, where both are on.
    switch: float = 0.5
    #: Probability that a batch is mixed.
    p: float = 1.0
    #: Part of each target that is spread evenly over all classes, before mixing.
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Raise SpecError for a number out of range."""
        for field in fields(self):
            value, alpha = getattr(self, field.name), field.name in ("mixup", "cutmix")
            most = 1000.0 if alpha else 1.0
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= most:
                raise SpecError(f"{field.name} = {value!r}: give a number of 0 to {most:g}")
        for name in ("mixup", "cutmix"):
            if 0.0 < getattr(self, name) < 0.01:  # noqa: PLR2004 - said in the message
                raise SpecError(f"{name} = {getattr(self, name)!r}: give 0 for none, or 0.01 and more")

    def draw(self, uniforms: Array, height: int, width: int) -> Array:
        """Return the numbers of a batch of images of this size, float32 (6,)."""
        chance, kind, first, second, row, column = uniforms.tolist()
        numbers = [1.0, 1.0, 0, 0, 0, 0]
        if chance < self.p and (self.mixup or self.cutmix):
            if self.cutmix and (not self.mixup or kind < self.switch):
                share = symmetric_beta(self.cutmix, first, second)
                top, bottom = _side(height, share, row)
                left, right = _side(width, share, column)
                kept = 1.0 - (bottom - top) * (right - left) / (height * width)
                numbers = [1.0, kept, top, bottom, left, right]
            else:
                share = symmetric_beta(self.mixup, first, second)
                numbers = [share, share, 0, 0, 0, 0]
        return np.array(numbers, np.float32)


def symmetric_beta(alpha: float, first: float, second: float) -> float:
    """Return the number of Beta(alpha, alpha) that two uniforms stand for: the same on every host.

    The polar method for Student's t (Bailey, 1994), which is a symmetric beta in other words: no draw is rejected.
    """
    power, cosine = decay(waiting_time(first) / alpha), sine_cosine(360.0 * second)[1]
    room = (1.0 - power) * cosine * cosine
    if not room:
        return _HALF
    ratio = power / room
    root = math.sqrt(1.0 + ratio)
    less = _HALF * ratio / (root * (root + 1.0))  # (1 - 1 / root) / 2, also right where that is tiny
    return less if cosine < 0.0 else 1.0 - less


def mix_images(images: Any, numbers: Any, size: tuple[int, int], axes: str) -> Any:
    """Return each image mixed with the one before it in the batch, the first with the last.

    `numbers` is the batch's field `mix`; `size` is (height, width). Floating-point images keep their type, whole
    numbers become float32; the arithmetic is float32's. `axes`: see `_first_side`.
    """
    arrays = arrays_of(images)
    first = _first_side(tuple(images.shape), size, axes, channels_first=arrays.channels_first)
    own, top, bottom, left, right = (numbers[:, place, None, None] for place in (0, 2, 3, 4, 5))
    rows, columns = arrays.count(size[0], images)[None, :, None], arrays.count(size[1], images)[None, None, :]
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    weights = arrays.where(inside, own * 0.0, own)
    if len(images.shape) == 4:  # noqa: PLR2004 - samples, two sides, channels
        weights = weights[..., None] if first == 1 else weights[:, None]
    values = arrays.floats(images)
    return arrays.like(_blend(arrays, values, weights), images)


def mix_labels(labels: Any, numbers: Any, classes: int, smoothing: float) -> Any:
    """Return the targets, float32 (samples, classes): of class indices, or of targets that are such already."""
    arrays = arrays_of(labels)
    targets = arrays.floats(labels)
    if len(labels.shape) == 1:
        targets = arrays.floats(targets[:, None] == arrays.count(classes, labels)[None, :])
    elif labels.shape[1:] != (classes,):
        raise SpecError(
            f"labels of shape {tuple(labels.shape)}: give class indices (samples,), or targets (samples, {classes})"
        )
    if smoothing:
        targets = targets * (1.0 - smoothing) + smoothing / classes
    return _blend(arrays, targets, numbers[:, 1, None])


def _blend(arrays: Any, values: Any, weights: Any) -> Any:
    return values * weights + arrays.roll(values) * (1.0 - weights)


def _side(length: int, share: float, draw: float) -> tuple[int, int]:
    """Return the ends of the box along one side: its middle is uniform, and what lies outside the image is cut off."""
    middle, half = whole(length, draw), int(_HALF * math.sqrt(1.0 - share) * length)
    return max(0, middle - half), min(length, middle + half)


def _first_side(shape: tuple[int | None, ...], size: tuple[int, int], axes: str, *, channels_first: bool) -> int:
    """Return the axis of the height: 1 or 2.

    Images may have been normalised to `channels_first`, so their shape decides; where both orders fit, `axes` does, and
    in PyTorch, whose images the loader permutes, the framework. Raises SpecError if neither fits.
    """
    fits = [first for first in (1, 2) if shape[first : first + 2] == size and len(shape) in (first + 2, 4)]
    if not fits:
        raise SpecError(
            f"images of shape {shape}: mix batches (samples, height, width, channels) or (samples, channels, height, "
            f"width) of height and width {size}, as they come from the feed; resize after mixing"
        )
    preferred = 2 if channels_first or axes == "chw" else 1
    return preferred if preferred in fits else fits[0]
