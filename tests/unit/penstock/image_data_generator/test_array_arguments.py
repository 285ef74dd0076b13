"""`flow`: bad arguments are refused with their value."""

from typing import Any

import numpy as np
import pytest
from support.keras.flows import IMAGES, LABELS, flow

from penstock.protocol.errors import PenstockError


@pytest.mark.parametrize(
    ("index", "error"), [(3, ValueError), (99, ValueError), ("1", TypeError), (slice(0, 2), TypeError)]
)
def test_a_batch_that_is_not_there_is_refused(index: Any, error: type[Exception]) -> None:
    """The value is quoted."""
    with pytest.raises(error, match="was asked for") as caught:
        flow()[index]
    assert repr(index) in str(caught.value)
    assert isinstance(caught.value, PenstockError)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, "batch_size = 0"),
        ({"batch_size": 2.5}, "batch_size = 2.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**63}, f"seed = {2**63}: give at most"),
        ({"seed": 0.5}, "seed = 0.5"),
        ({"subset": "test"}, "subset = 'test'"),
        ({"subset": "training"}, "Training and validation subsets have different number of classes after the split"),
        ({"y": LABELS[:3]}, r"`x` \(images tensor\) and `y` \(labels\) should .*10 images .*\(3,\)"),
        ({"sample_weight": LABELS[:4]}, r"`sample_weight` should have the same length.*\(4,\)"),
        ({"x": (IMAGES, LABELS[:5])}, r"All of the arrays in `x` should have the same length.*\(5,\)"),
        ({"x": (IMAGES, LABELS, LABELS)}, "tuple of 3 entries"),
        ({"x": IMAGES[0], "y": None}, r"rank 4.*\(12, 14, 3\)"),
        ({"workers": -2}, "workers = -2"),
    ],
)
def test_a_bad_argument_of_flow_is_refused_with_its_value(arguments: dict[str, Any], words: str) -> None:
    """A ValueError, as in Keras, that quotes the value."""
    with pytest.raises(ValueError, match=words) as caught:
        flow(arguments={"validation_split": 0.5}, **arguments)
    assert isinstance(caught.value, PenstockError)


def test_text_instead_of_images_is_refused() -> None:
    """With its type."""
    with pytest.raises(TypeError, match="elements of type <U1"):
        flow(np.array([["a"]]), None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": 5}, "x = 5: give an array"),
        ({"y": 5}, "y = 5: give an array"),
        ({"y": {"a": LABELS}}, r"y = \{'a': array"),
        ({"sample_weight": 0.5}, "sample_weight = 0.5: give an array"),
        ({"y": [[1], [2, 3]]}, r"y = \[\[1\], \[2, 3\]\] cannot be made one array"),
        ({"x": (IMAGES, 5)}, r"x\[1\] = 5: give an array"),
    ],
)
def test_what_is_no_array_is_refused_with_its_value(arguments: dict[str, Any], words: str) -> None:
    """In our words and error types."""
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        flow(**arguments)
    assert isinstance(caught.value, PenstockError)
