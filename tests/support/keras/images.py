"""Keras's retired ImageDataGenerator, for comparison; imported late, as TensorFlow takes seconds."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def generator(**arguments: Any) -> Any:
    """Return Keras's own generator."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator  # noqa: PLC0415

    return ImageDataGenerator(**arguments)


def transformed(image: npt.NDArray[Any], parameters: Mapping[str, Any], **arguments: Any) -> Floats:
    """Return what Keras makes of an image (height, width, channels) with given parameters."""
    with warnings.catch_warnings():
        # SciPy deprecates the namespace that Keras calls: `scipy.ndimage.interpolation`.
        warnings.simplefilter("ignore", DeprecationWarning)
        found: Floats = generator(**arguments).apply_transform(image.astype(np.float32), dict(parameters))
    return found
