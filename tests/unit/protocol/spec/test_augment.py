"""Settings of `[transform.augment]`: what is refused, and what survives JSON."""

from typing import Any

import pytest
from pydantic import ValidationError

from penstock.protocol.spec.augment import Augment
from penstock.protocol.spec.transform import Transform


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"zoom_range": [0.5, 1.0, 1.5]}, "zoom_range"),
        ({"zoom_range": "much"}, "zoom_range"),
        ({"brightness_range": 0.5}, "brightness_range"),
        ({"brightness_range": [0.5]}, "brightness_range"),
        ({"width_shift_range": []}, "width_shift_range"),
        ({"height_shift_range": -0.5}, "-0.5 is negative"),
        ({"rotation_range": float("nan")}, "finite"),
        ({"cval": float("inf")}, "finite"),
        ({"fill_mode": "mirror"}, "'nearest', 'constant', 'reflect' or 'wrap'"),
        ({"interpolation_order": 6}, "less than or equal to 5"),
        ({"fill": "nearest"}, "Extra inputs"),
    ],
)
def test_senseless_specare_refused(arguments: dict[str, Any], words: str) -> None:
    """What Keras refuses, what it would only trip over later, and numbers that are none."""
    with pytest.raises(ValidationError, match=words):
        Augment(**arguments)


@pytest.mark.parametrize("cval", [-1.0, 255.5, 300.0])
def test_a_stream_is_not_filled_with_what_8_bits_cannot_hold(cval: float) -> None:
    """It would be cut to 0 or 255 in silence; where it has no effect, it is accepted."""
    resize = {"height": 8, "width": 8}
    seen = {"rotation_range": 20.0, "fill_mode": "constant", "cval": cval}
    with pytest.raises(ValidationError, match=f"cval = {cval}: samples have levels of 0 to 255"):
        Transform.model_validate({"resize": resize, "augment": seen})
    for unseen in ({"fill_mode": "nearest"}, {"rotation_range": 0.0}):
        Transform.model_validate({"resize": resize, "augment": {**seen, **unseen}})


def test_whole_numbers_and_fractions_stay_apart_through_json() -> None:
    """1 is up to no pixel, 1.0 up to one: a spec that travels must not turn one into the other."""
    for value in (1, 1.0, 2, 0.5, (1, 2), (0.5, 2)):
        again = Augment.model_validate_json(Augment(width_shift_range=value).model_dump_json())
        assert repr(value) == repr(again.width_shift_range)
