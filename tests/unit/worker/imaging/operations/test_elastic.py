"""The elastic distortion: smooth, of the stated strength, and the same whatever adds up its sums."""

from typing import Any

import numpy as np
import pytest
from support.images import picture

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation_table import step_models
from penstock.worker.imaging.operations.geometry.elastic import _weights

DRAWS = np.array([0.25])


def moved(size: tuple[int, int], **settings: Any) -> Any:
    """Return the move that a step makes."""
    (move,) = step_models()["elastic"].model_validate({"op": "elastic", **settings}).actions(size, DRAWS)
    return move


@pytest.mark.parametrize("sigma", [0.1, 2.0, 50.0])
def test_weights_are_whole_and_sum_to_a_power_of_two(sigma: float) -> None:
    """So both passes of the blur are exact; and they are symmetric."""
    weights = _weights(sigma)
    assert np.array_equal(weights, np.rint(weights))
    assert weights.sum() == 2.0**18
    assert np.array_equal(weights, weights[::-1])
    assert len(weights) % 2 == 1


def test_displacements_are_the_exact_sums() -> None:
    """Those of Python's whole numbers, for a pixel whose kernel reaches beyond the edge."""
    move, (height, width) = moved((9, 11), alpha=8, sigma=1), (9, 11)
    words = np.random.Philox(key=move.key).random_raw(50).astype("<u8").view("<u2")[: 2 * 99].reshape(2, 9, 11)
    weights = [int(weight) for weight in _weights(1.0)]
    half = len(weights) // 2

    def mirrored(place: int, side: int) -> int:
        return abs(place) if place < side else 2 * side - 2 - place

    row, column, total = 1, 9, 0
    for down, first in enumerate(weights, row - half):
        for across, second in enumerate(weights, column - half):
            word = int(words[1, mirrored(down, height), mirrored(across, width)])
            total += first * second * (word - 2**15)
    assert move.shifts((height, width))[1, row, column] == total * (4.0 * 2.0**-51)


def test_a_strength_of_zero_moves_nothing() -> None:
    """With either filter."""
    pixels = picture(1, 0, 20, 31)
    for name in ("nearest", "bilinear"):
        assert np.array_equal(pixels, moved((20, 31), alpha=0, filter=name).pixels(pixels))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_small_images_of_any_channels_are_moved(channels: int) -> None:
    """A single pixel included; what comes from outside has the fill, and alpha 0."""
    for size in ((1, 1), (1, 5), (7, 2)):
        pixels = np.full((*size, channels), 200, np.uint8)
        result = moved(size, alpha=10_000, sigma=0.1, fill=[7]).pixels(pixels)
        assert result.shape == pixels.shape
        assert set(np.unique(result[..., :3])) <= set(range(7, 201))


def test_images_that_opencv_cannot_resample_fail() -> None:
    """As the item's fault, with their size."""
    with pytest.raises(ItemError, match=r"at most 32000 pixels a side, not 1 × 32001"):
        moved((1, 32_001))
