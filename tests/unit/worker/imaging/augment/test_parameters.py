"""Random parameters: Keras's distributions, drawn in the documented order."""

from typing import Any

import numpy as np
import pytest
from support.imaging.augmenting import EVERYTHING
from support.keras.images import generator

from penstock.protocol.philox import uniforms
from penstock.protocol.spec.augment import Augment
from penstock.worker.imaging.augment.apply import (
    columns,
    random_parameters,
)
from penstock.worker.imaging.augment.parameters import draw

PARAMETERS: list[dict[str, Any]] = [
    {"rotation_range": 30},
    {"rotation_range": -30.0},
    {"width_shift_range": 0.3},
    {"width_shift_range": 4},
    {"width_shift_range": 1},
    {"width_shift_range": 1.0},
    {"width_shift_range": 2.5},
    {"height_shift_range": [0.1, 0.25]},
    {"height_shift_range": [1, 2, 7]},
    {"height_shift_range": [-0.5, 3.0]},
    {"shear_range": 12.0},
    {"zoom_range": 0.3},
    {"zoom_range": [0.5, 3.0]},
    {"zoom_range": [1.0, 1.0]},
    {"horizontal_flip": True},
    {"vertical_flip": True},
    {"channel_shift_range": 40.0},
    {"brightness_range": [0.3, 1.9]},
]


@pytest.mark.parametrize("arguments", PARAMETERS, ids=str)
def test_parameters_have_kerass_distribution(arguments: dict[str, Any]) -> None:
    """Kolmogorov and Smirnov's distance of 2,000 draws from Keras's, for every key; it exceeds 0.06 once in 10^3."""
    keras = generator(**arguments)
    np.random.seed(1)  # noqa: NPY002 - Keras draws from numpy's global generator
    wanted = [keras.get_random_transform((24, 50, 3)) for _ in range(2_000)]
    spec = Augment(**arguments)
    drawn = uniforms(9, 0, np.arange(2_000), 1, columns(spec))[:, 0]
    found = [random_parameters(spec, (24, 50, 3), row) for row in drawn]
    assert wanted[0].keys() == found[0].keys()
    for key in wanted[0]:
        if wanted[0][key] is None:
            assert all(entry[key] is None for entry in found)
            continue
        expected, actual = (np.sort([float(entry[key]) for entry in entries]) for entries in (wanted, found))
        grid = np.union1d(expected, actual)
        distance = np.searchsorted(expected, grid, "right") - np.searchsorted(actual, grid, "right")
        assert np.abs(distance).max() / 2_000 < 0.06, key
        assert np.abs(expected[[0, -1]] - actual[[0, -1]]).max() <= 0.02 * (expected[-1] - expected[0]) + 1e-12, key


def test_columns_are_drawn_in_the_documented_order() -> None:
    """The order is part of every stream's definition; only what the spec asks for takes a column."""
    assert 11 == columns(EVERYTHING)
    row = np.linspace(0.02, 0.98, 11)
    found = random_parameters(EVERYTHING, (100, 200), row)
    names = ("theta", "tx", "sign", "ty", "shear", "zx", "zy", "flip_horizontal", "flip_vertical")
    at = dict(zip((*names, "channel_shift_intensity", "brightness"), row, strict=True))
    assert -40 + 80 * at["theta"] == found["theta"]
    assert -int(at["tx"] * 3) == found["tx"]
    assert (-0.2 + 0.4 * at["ty"]) * 200 == pytest.approx(found["ty"])
    assert -20 + 40 * at["shear"] == found["shear"]
    assert [0.7 + (1.4 - 0.7) * at[name] for name in ("zx", "zy")] == [found["zx"], found["zy"]]
    assert (False, False) == (found["flip_horizontal"], found["flip_vertical"])
    assert -60 + 120 * at["channel_shift_intensity"] == found["channel_shift_intensity"]
    assert 0.5 + at["brightness"] == found["brightness"]
    assert 0 == columns(Augment())


def test_drawing_takes_no_more_than_it_is_given() -> None:
    """A row has exactly as many columns as the settings take."""
    assert 5 == len(draw(EVERYTHING, np.full((5, 11), 0.5), 10, 10).theta)
    with pytest.raises(StopIteration):
        draw(EVERYTHING, np.full((5, 10), 0.5), 10, 10)
