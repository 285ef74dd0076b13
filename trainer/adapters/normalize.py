"""Normalisation on the trainer's side, for streams whose spec says `normalize.where = "trainer"`.

Does what `worker/imaging/normalize.py` does, as one TensorFlow function of a whole batch: uint8 travels, and the
trainer's device does the arithmetic. TensorFlow is imported on first use.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.protocol.errors import SpecError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.statistics import EPSILON
from penstock.worker.imaging.normalize import Normalizer, open_normalizer

if TYPE_CHECKING:
    import tensorflow as tf


class BatchNormalizer:
    """Normalises batches of uint8 images: `normalizer(batch["image"])`, numpy to numpy, tensor to tensor.

    Images are (samples, height, width, channels); the result has the dtype and the axes of the spec. Called in a
    model or a training step, it runs on their device; in `Dataset.map`, on the host.
    """

    def __init__(self, plain: Normalizer) -> None:
        """Take the normaliser that a worker would use."""
        self.plain = plain
        self._zca: Any = None

    def __call__(self, images: Any) -> Any:
        """Return the normalised batch. Raises SpecError if images are no uint8 batch of the stream's shape."""
        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8 or images.shape[1:] != self.plain.shape:
                raise SpecError(
                    f"images of {images.dtype} {images.shape}: normalise batches of uint8 (samples, "
                    f"{', '.join(map(str, self.plain.shape))}), as they come from the feed"
                )
            return self.plain(images)
        return self.tensor(images)

    def tensor(self, images: "tf.Tensor") -> "tf.Tensor":
        """Return a normalised tensor; for use inside `tf.function`, `Dataset.map` and models."""
        from penstock.trainer.adapters.tf import import_tensorflow  # noqa: PLC0415 - TensorFlow takes seconds

        tf, plain, settings = import_tensorflow(), self.plain, self.plain.settings
        values = tf.cast(images, tf.float32)
        scale: Any = plain.rescale
        if settings.centers_samples:
            values -= tf.reduce_mean(values, axis=(1, 2, 3), keepdims=True)
            if settings.samplewise_std_normalization:
                variance = tf.reduce_mean(tf.square(values), axis=(1, 2, 3), keepdims=True)
                scale = plain.rescale / (abs(plain.rescale) * tf.sqrt(variance) + EPSILON)
        values *= scale
        if settings.centers_features:
            values -= tf.constant(plain.mean, tf.float32)
        if settings.scales_features:
            values *= tf.constant(plain.scale, tf.float32)
        if plain.zca is not None:
            flat = tf.reshape(values, (-1, plain.zca.shape[0]))
            values = tf.reshape(tf.matmul(flat, tf.constant(plain.zca)), (-1, *plain.shape))
        if settings.data_format == "channels_first":
            values = tf.transpose(values, (0, 3, 1, 2))
        return tf.cast(values, settings.dtype)


def batch_normalizer(plan: StreamPlan, roots: Mapping[str, str | Path] | None = None) -> BatchNormalizer:
    """Return the normaliser of a stream's batches; `roots` is needed if a ZCA matrix has to be read.

    Raises SpecError if the spec does not leave normalisation to the trainer.
    """
    settings = plan.settings.transform.normalize
    if settings is None or settings.where != "trainer":
        found = "no [transform.normalize]" if settings is None else 'where = "worker": its batches are normalised'
        raise SpecError(f'stream {plan.name!r} has {found}; set where = "trainer" to normalise here')
    shape = plan.settings.transform.image_shape
    images = [field for field in plan.schema if field.name in plan.settings.transform.image_names]
    if any((image.dtype, image.shape) != ("uint8", shape) for image in images):
        raise SpecError(f"stream {plan.name!r}: its custom transforms leave no uint8 image of {shape} to normalise")
    return BatchNormalizer(open_normalizer(settings, shape, plan.settings.source, roots or {}))
