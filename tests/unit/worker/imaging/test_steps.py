"""Steps: which samples they change, with which random numbers."""

from typing import Any

import numpy as np
import pytest

from penstock.protocol.order import sample_generator
from penstock.protocol.spec.transform import Transform
from penstock.worker.imaging.steps import Steps, purpose_of

ITEMS = np.arange(200, dtype=np.int64)
SEED, EPOCH, PATCHES = 5, 2, 3


def images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return one small image a sample, all different."""
    return np.random.default_rng(3).integers(0, 256, (len(ITEMS) * PATCHES, 4, 5, 3), np.uint8)


def changed(steps: list[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return what steps make of `images()`."""
    transform = Transform.model_validate({"resize": {"height": 4, "width": 5}, "steps": steps})
    applied, result = Steps(transform.steps, transform.step_keys, SEED), images()
    applied.begin(EPOCH, ITEMS, PATCHES)
    applied.apply(np.arange(len(result)), result)
    return result


def flipped(key: str, p: float = 0.5) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which samples a step of this key changes, from the definition."""
    chances = [
        sample_generator(SEED, EPOCH, item, patch, purpose_of(key)).random()
        for item in ITEMS.tolist()
        for patch in range(PATCHES)
    ]
    return np.array(chances) < p


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_step_changes_the_samples_that_its_own_generator_chooses(p: float) -> None:
    """About the fraction `p` of them; the others stay as they are."""
    result, before = changed([{"op": "flip", "p": p}]), images()
    for sample, flips in enumerate(flipped("flip#0", p)):
        assert np.array_equal(before[sample, :, ::-1] if flips else before[sample], result[sample])
    assert abs(float(flipped("flip#0", p).mean()) - p) < 0.06


def test_a_step_that_is_inserted_changes_no_other_steps_numbers() -> None:
    """Steps of different ops, or with keys, draw the same wherever they stand."""
    up = {"op": "flip", "direction": "vertical", "p": 0.5, "key": "up"}
    both = changed([up, {"op": "flip", "p": 0.5}])
    turned = np.where(flipped("up")[:, np.newaxis, np.newaxis, np.newaxis], images()[:, ::-1], images())
    expected = np.where(flipped("flip#0")[:, np.newaxis, np.newaxis, np.newaxis], turned[:, :, ::-1], turned)
    assert np.array_equal(expected, both)


def test_only_the_samples_that_are_left_are_changed() -> None:
    """Rows are matched with samples by number, whichever items failed before."""
    transform = Transform.model_validate({"resize": {"height": 4, "width": 5}, "steps": [{"op": "flip", "p": 0.5}]})
    applied, rows = Steps(transform.steps, transform.step_keys, SEED), np.arange(30, 90)
    applied.begin(EPOCH, ITEMS, PATCHES)
    result = images()[30:90]
    applied.apply(rows, result)
    assert np.array_equal(changed([{"op": "flip", "p": 0.5}])[30:90], result)
