"""Keras's `ImageDataGenerator` and ours with the same arguments, and the check that their batches are equal."""

import warnings
from typing import Any

import numpy as np
import pytest
from support.images import picture

import penstock

IMAGES = np.stack([picture(index, index % 3, 20, 24) for index in range(12)]).astype(np.float32)
LABELS = np.arange(12) % 3


def both(**arguments: Any) -> tuple[Any, Any]:
    """Return Keras's generator and ours; Keras is imported here: every run collects the tests that compare."""
    keras_image = pytest.importorskip(
        "keras.src.legacy.preprocessing.image", reason="NOT COMPARED: Keras has dropped the class"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of arguments that imply others: tested by themselves
        return keras_image.ImageDataGenerator(**arguments), penstock.ImageDataGenerator(**arguments)


def same(expected: Any, actual: Any) -> None:
    """Assert that two batches are equal in structure, type and value."""
    if isinstance(expected, (tuple, list)):
        assert type(expected) is type(actual)
        for one, other in zip(expected, actual, strict=True):
            same(one, other)
        return
    assert expected.dtype == actual.dtype
    assert expected.shape == actual.shape
    assert np.allclose(expected, actual, rtol=1e-5, atol=1e-5)
