"""Normalisation on the trainer's side, for streams whose spec says `normalize.where = "trainer"`.

Does what `worker/imaging/normalize.py` does, in numpy, TensorFlow, PyTorch or JAX, on a whole batch: uint8 travels, and
the trainer's device does the arithmetic. `arrays.py` holds what the frameworks call differently.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penstock.protocol.errors import SpecError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.statistics import EPSILON
from penstock.trainer.adapters.arrays import Arrays, arrays_of
from penstock.worker.imaging.normalize import Normalizer, open_normalizer

#: To channels before the sides, and back.
_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)


class BatchNormalizer:
    """Normalises batches of images: `normalizer(batch["image"])`, numpy to numpy, tensor to tensor where it lies.

    Takes images as the feed or its loader gives them, and returns what it would give if a worker normalised: arrays and
    TensorFlow's tensors with the axes of the spec, PyTorch's tensors always (n, channels, height, width). Works in a
    model, a training step or a compiled function, on their device; in `Dataset.map`, on the host.
    """

    def __init__(self, plain: Normalizer, *others: Normalizer) -> None:
        """Take the normaliser that a worker would use; of a stream with views, one for each shape."""
        self.plain = plain
        self._of_shape = {each.shape: each for each in (plain, *others)}
        #: PyTorch's constants by name and device: they are copied to a device once, not with each batch.
        self._constants: dict[tuple[str, Any], Any] = {}

    def __call__(self, images: Any) -> Any:
        """Return the normalised batch. Raises SpecError if images are no batch of the stream's shape.

        Of numpy only uint8 is taken. Tensors may be of another type too, since models convert what they are given:
        their numbers must be levels from 0 to 255 all the same.
        """
        if isinstance(images, np.ndarray):
            plain = self._of_shape.get(images.shape[1:])
            if images.dtype != np.uint8 or plain is None:
                raise self._unfit(images)
            return plain(images)
        return self.tensor(images)

    def tensor(self, images: Any) -> Any:
        """Return a normalised tensor of TensorFlow, PyTorch or JAX; for use inside compiled functions and models."""
        arrays, plain, settings = arrays_of(images), self.plain, self.plain.settings
        first = self._channels_first(images, arrays)
        values = arrays.floats(arrays.transpose(images, _LAST) if first else images)
        scale: Any = plain.rescale
        if settings.centers_samples:
            values = values - arrays.means(values)
            if settings.samplewise_std_normalization:
                variance = arrays.means(values * values)
                scale = plain.rescale / (abs(plain.rescale) * arrays.roots(variance) + EPSILON)
        values = values * scale
        if settings.centers_features:
            values = values - self._constant("mean", plain.mean, arrays, values)
        if settings.scales_features:
            values = values * self._constant("scale", plain.scale, arrays, values)
        if plain.zca is not None:
            flat = arrays.reshape(values, (-1, plain.zca.shape[0]))
            white = arrays.product(flat, self._constant("zca", plain.zca, arrays, values))
            values = arrays.reshape(white, (-1, *plain.shape))
        if first or settings.data_format == "channels_first":
            values = arrays.transpose(values, _FIRST)
        return arrays.cast(values, settings.dtype)

    def _channels_first(self, images: Any, arrays: Arrays) -> bool:
        """Return whether images have their channels before their sides, as those of PyTorch's loader.

        Raises SpecError if they are no batch of this stream; sides that a graph does not know may be anything.
        """
        orders = [(shape, False) for shape in self._of_shape]
        if arrays.channels_first:
            orders = [((channels, height, width), True) for height, width, channels in self._of_shape] + orders
        if getattr(images.shape, "rank", 0) is None:  # TensorFlow's, of which nothing is known
            return False
        shape = tuple(images.shape)
        for order, first in orders:
            if len(shape) == 4 and all(side in (None, wanted) for side, wanted in zip(shape[1:], order, strict=True)):  # noqa: PLR2004 - samples and these
                return first
        raise self._unfit(images)

    def _constant(self, name: str, numbers: Any, arrays: Arrays, values: Any) -> Any:
        if not arrays.channels_first:  # frameworks that trace: a kept constant would belong to one trace
            return arrays.constant(numbers, values)
        key = (name, values.device)
        if key not in self._constants:
            self._constants[key] = arrays.constant(numbers, values)
        return self._constants[key]

    def _unfit(self, images: Any) -> SpecError:
        shapes = " or ".join(f"(samples, {', '.join(map(str, shape))})" for shape in self._of_shape)
        return SpecError(
            f"images of {images.dtype} {tuple(images.shape)}: normalise batches of uint8 {shapes}, as they come from "
            "the feed"
        )


def batch_normalizer(plan: StreamPlan, roots: Mapping[str, str | Path] | None = None) -> BatchNormalizer:
    """Return the normaliser of a stream's batches; `roots` is needed if a ZCA matrix has to be read.

    Raises SpecError if the spec does not leave normalisation to the trainer.
    """
    settings = plan.settings.transform.normalize
    if settings is None or settings.where != "trainer":
        found = "no [transform.normalize]" if settings is None else 'where = "worker": its batches are normalised'
        raise SpecError(f'stream {plan.name!r} has {found}; set where = "trainer" to normalise here')
    shapes = plan.settings.transform.image_shapes
    for field in plan.schema:
        if field.name in shapes and (field.dtype, field.shape) != ("uint8", shapes[field.name]):
            raise SpecError(
                f"stream {plan.name!r}: its custom transforms leave no uint8 image of {shapes[field.name]} to normalise"
            )
    normalizers = [
        open_normalizer(settings, shape, plan.settings.source, roots or {}) for shape in dict.fromkeys(shapes.values())
    ]
    return BatchNormalizer(*normalizers)
