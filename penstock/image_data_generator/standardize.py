"""Normalisation as the retired Keras `ImageDataGenerator` does it, on whole batches, and the statistics it needs.

Implements `standardize` and `fit`: rescaling, centring, dividing by the deviation and whitening, in Keras's order.
Statistics are population statistics (ddof 0); 1e-6 keeps a division from failing.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ArgumentError
from penstock.protocol.spec.statistics import EPSILON

Images = npt.NDArray[Any]

_CHANNELS = (1, 3, 4)


class Settings(Protocol):
    """Attributes of an `ImageDataGenerator` that normalisation reads and `fit` writes; scripts set them too."""

    featurewise_center: bool
    samplewise_center: bool
    featurewise_std_normalization: bool
    samplewise_std_normalization: bool
    zca_whitening: bool
    zca_epsilon: float
    rescale: float | None
    preprocessing_function: Callable[[Images], Images] | None
    data_format: str
    channel_axis: int
    row_axis: int
    col_axis: int
    dtype: Any
    mean: Any
    std: Any
    zca_whitening_matrix: Any


def standardize(settings: Settings, x: Images) -> Images:
    """Return floating-point images, normalised, in place where that can be done.

    `x` is one image (rank 3) or a batch (rank 4); "samplewise" statistics are taken over all of it, as Keras does
    whatever it is given. `preprocessing_function` gets `x` as it is.
    """
    if settings.preprocessing_function:
        x = settings.preprocessing_function(x)
    return _normalize(settings, x, None)


def standardize_batch(settings: Settings, batch: Images) -> Images:
    """Return a batch (rank 4, floating point), each image normalised by itself; see `standardize`.

    Raises ArgumentError if `preprocessing_function` changes an image's shape.
    """
    if settings.preprocessing_function:
        for index, image in enumerate(batch):
            result = np.asarray(settings.preprocessing_function(image))
            if result.shape != image.shape:
                raise ArgumentError(
                    f"preprocessing_function returned shape {result.shape} for an image of shape {image.shape}: it "
                    "must keep the shape"
                )
            batch[index] = result
    return _normalize(settings, batch, (1, 2, 3))


def _normalize(settings: Settings, x: Images, axes: tuple[int, ...] | None) -> Images:
    """Do all steps after `preprocessing_function`; `axes` are those of "samplewise" statistics."""
    if settings.rescale:
        x *= settings.rescale
    if settings.samplewise_center:
        x -= np.mean(x, axis=axes, keepdims=True)
    if settings.samplewise_std_normalization:
        x /= np.std(x, axis=axes, keepdims=True) + EPSILON
    if settings.featurewise_center and _fitted(settings.mean, "featurewise_center"):
        x -= settings.mean
    if settings.featurewise_std_normalization and _fitted(settings.std, "featurewise_std_normalization"):
        x /= settings.std + EPSILON
    if settings.zca_whitening and _fitted(settings.zca_whitening_matrix, "zca_whitening"):
        flat = x.reshape(-1, math.prod(x.shape[-3:]))
        x = (flat @ settings.zca_whitening_matrix).reshape(x.shape)
    return x


def _fitted(statistic: Any, name: str) -> bool:
    if statistic is None:
        warnings.warn(
            f"{name} is set, and the statistics it needs are not there, so it does nothing: call fit(x) on training "
            "images first, or set them",
            stacklevel=4,
        )
    return statistic is not None


def check_images(settings: Settings, x: Images, who: str) -> None:
    """Raise ArgumentError unless `x` has rank 4; warn if its number of channels is no image's."""
    if x.ndim != 4:  # noqa: PLR2004 - the rank of a batch of images
        raise ArgumentError(f"{who} needs images of rank 4 (count, height, width, channels), and got shape {x.shape}")
    channels = x.shape[settings.channel_axis]
    if channels not in _CHANNELS:
        warnings.warn(
            f"{who} got shape {x.shape}: {channels} channels on axis {settings.channel_axis} "
            f"(data_format = {settings.data_format!r}), where images have 1, 3 or 4",
            stacklevel=4,
        )


def fit(settings: Settings, x: Images) -> None:
    """Compute `mean`, `std` and `zca_whitening_matrix`, as far as asked for, from rescaled images; changes `x`.

    Whitening is by the singular vectors U and values s of the centred images, one a column: U diag(√n / (s + ε)) Uᵀ.
    """
    axes = (0, settings.row_axis, settings.col_axis)
    shape = [1, 1, 1]
    shape[settings.channel_axis - 1] = x.shape[settings.channel_axis]
    if settings.featurewise_center:
        settings.mean = np.mean(x, axis=axes).reshape(shape)
        x -= settings.mean
    if settings.featurewise_std_normalization:
        settings.std = np.std(x, axis=axes).reshape(shape)
        x /= settings.std + EPSILON
    if settings.zca_whitening:
        vectors, values, _ = np.linalg.svd(x.reshape(len(x), -1).T, full_matrices=False)
        scale = math.sqrt(len(x)) / (values + settings.zca_epsilon)
        settings.zca_whitening_matrix = (vectors * scale) @ vectors.T
