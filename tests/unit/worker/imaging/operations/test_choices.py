"""Steps that hold steps: which of them are applied, with whose numbers, and what is refused."""

from typing import Any

import numpy as np
import pytest
from support.images import picture
from support.imaging.pipelines import make_plan

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.operation_table import step_models
from penstock.protocol.spec.sequences.step_list import list_steps
from penstock.protocol.spec.spec import parse_spec
from penstock.protocol.spec.transform import Transform
from penstock.worker.imaging.steps import Steps

ITEMS = np.arange(300, dtype=np.int64)
IMAGE = picture(3, 1, 6, 7)
RESIZED = {"resize": {"height": 6, "width": 7}}
#: Steps whose effects, and whose numbers, can be told apart.
SOLARIZE, INVERT, FLIP = {"op": "solarize"}, {"op": "invert"}, {"op": "flip"}
GAMMA = {"op": "gamma", "gamma": [0.5, 2]}
Made = list[bytes]


def made(*steps: dict[str, Any]) -> Made:
    """Return what becomes of one image as each of many samples."""
    transform = Transform.model_validate({**RESIZED, "steps": list(steps)})
    runner = Steps(transform.all_steps, transform.step_keys, 5, 10**6)
    runner.begin(0, ITEMS, 1)
    return [runner.program(sample, (6, 7)).run(IMAGE).tobytes() for sample in range(len(ITEMS))]


def test_a_step_that_is_added_to_one_of_changes_only_the_samples_that_choose_it() -> None:
    """All others show the same step as before, with the same numbers."""
    before = made({"op": "one_of", "steps": [GAMMA, SOLARIZE]})
    after = made({"op": "one_of", "steps": [INVERT, GAMMA, SOLARIZE]})
    new = made(INVERT)[0]
    assert 60 < after.count(new) < 140
    assert all(new in (one, other) or one == other for one, other in zip(after, before, strict=True))


def test_a_step_that_is_added_beside_one_of_changes_nothing_of_it() -> None:
    """Nor does a key that a held step gets elsewhere: a keyed step has the same numbers at the top and inside."""
    choice = {"op": "one_of", "steps": [GAMMA, SOLARIZE]}
    assert made(choice) == made({"op": "gamma", "gamma": [1, 1], "p": 0.0}, choice)
    keyed = {**GAMMA, "key": "mine"}
    assert made(keyed) == made({"op": "one_of", "steps": [keyed]})


def test_one_of_chooses_by_the_weights() -> None:
    """Nine in ten samples show the step of weight 9."""
    shown = made({"op": "one_of", "steps": [INVERT, FLIP], "weights": [9, 1]})
    assert {*made(INVERT), *made(FLIP)} == set(shown)
    assert 250 < shown.count(made(INVERT)[0]) < 290


def test_a_chosen_step_is_applied_with_its_own_probability() -> None:
    """`p` of the choice and of the held step are both asked."""
    shown = made({"op": "one_of", "p": 0.5, "steps": [{**INVERT, "p": 0.5}]})
    assert 50 < shown.count(made(INVERT)[0]) < 100
    assert {IMAGE.tobytes(), made(INVERT)[0]} == set(shown)


def test_some_of_applies_as_many_as_it_draws_in_the_order_listed() -> None:
    """All subsets of the drawn size occur, and nothing else."""
    steps: list[dict[str, Any]] = [INVERT, FLIP, {"op": "posterize", "bits": 2}]
    assert made(*steps)[0] == made({"op": "some_of", "count": 3, "steps": steps})[0]
    assert {IMAGE.tobytes()} == set(made({"op": "some_of", "count": 0, "steps": steps}))
    pairs = {made(*pair)[0] for pair in ((steps[0], steps[1]), (steps[0], steps[2]), (steps[1], steps[2]))}
    assert pairs == set(made({"op": "some_of", "count": 2, "steps": steps}))
    singles = {IMAGE.tobytes(), *(made(step)[0] for step in steps)}
    assert singles == set(made({"op": "some_of", "count": [0, 1], "steps": steps}))


def test_some_of_in_random_order_applies_each_order() -> None:
    """Two tables that do not commute give two results."""
    steps: list[dict[str, Any]] = [INVERT, {"op": "posterize", "bits": 2}]
    both = {made(*steps)[0], made(*reversed(steps))[0]}
    assert 2 == len(both)
    assert both == set(made({"op": "some_of", "count": 2, "order": "random", "steps": steps}))


def test_a_held_step_sees_the_size_that_those_before_it_made() -> None:
    """A crop after a padding is drawn over the padded image."""
    pad, crop = {"op": "pad", "padding": 2, "key": "pad"}, {"op": "random_crop", "size": [6, 7], "key": "crop"}
    assert made(pad, crop) == made(
        {"op": "some_of", "count": 2, "steps": [pad, crop]}, {"op": "center_crop", "size": [6, 7]}
    )


def test_steps_of_one_size_are_a_step_of_this_size() -> None:
    """So `one_of` may choose how all images get one size."""
    crops = [{"op": "random_resized_crop", "size": 8}, {"op": "resize", "size": 8}]
    assert (8, 8, 3) == Transform.model_validate({"steps": [{"op": "one_of", "steps": crops}]}).image_shape


def test_the_list_of_steps_shows_what_is_held() -> None:
    """`penstock check` prints each held step with its parameters, and its probability where it has one."""
    choice = {"op": "some_of", "count": 1, "steps": [{**INVERT, "p": 0.25}, {"op": "one_of", "steps": [FLIP]}]}
    transform = Transform.model_validate({**RESIZED, "steps": [choice]})
    (listed,) = [step for step in list_steps(transform) if step.field == "steps.0"]
    flip = {"op": "flip", "direction": "horizontal"}
    held = [{"op": "invert", "p": 0.25}, {"op": "one_of", "steps": [flip]}]
    assert {"steps": held, "count": [1, 1], "order": "listed"} == listed.parameters
    assert transform == Transform.model_validate_json(transform.model_dump_json())
    assert make_plan(transform={**RESIZED, "steps": [choice]}).settings.transform == transform


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"op": "one_of", "steps": []}, "steps holds 0: give 1 to 64 to choose from"),
        ({"op": "one_of", "steps": [FLIP], "weights": [1, 2]}, r"weights = \[1.0, 2.0\] has 2 numbers for 1 steps"),
        ({"op": "some_of", "steps": [FLIP], "count": 2}, r"count = \[2, 2\] exceeds the number of steps, 1"),
        ({"op": "some_of", "steps": [FLIP], "count": [1, 0]}, "the first number must not exceed the second"),
        ({"op": "one_of", "steps": [{"op": "posterize", "bits": 9}]}, r"steps\.0\.bits = 9"),
        ({"op": "one_of", "steps": [{**FLIP, "key": "a"}, {**FLIP, "key": "a"}]}, "2 steps have key = 'a'"),
        ({"op": "one_of", "steps": [FLIP, {"op": "resize", "size": 3}]}, "samples need one shape"),
        (
            {"op": "one_of", "steps": [FLIP, {"op": "random_crop", "size": 9}]},
            "step one_of#0: step random_crop#0 in it: ",
        ),
        ({"op": "jpeg", "quality": [0, 50]}, r"quality\.0 = 0"),
        ({"op": "aug_mix", "severity": 11}, "severity = 11"),
        ({"op": "auto_augment", "policy": "mnist"}, "policy = 'mnist'"),
    ],
    ids=str,
)
def test_a_wrong_choice_is_refused_with_its_place_and_value(step: dict[str, Any], words: str) -> None:
    """As every other field of the spec."""
    with pytest.raises(SpecError, match=words):
        parse_spec(
            {
                "streams": {
                    "train": {"source": {"kind": "directory", "root": "r"}, "transform": {"steps": [RESIZE, step]}}
                }
            }
        )


RESIZE = {"op": "resize", "size": [6, 7]}


def test_an_image_too_long_for_a_jpeg_is_refused_when_the_spec_is_read() -> None:
    """The words name the size and the limit."""
    with pytest.raises(ValueError, match=r"65501 × 7 pixels .* at most 65500 pixels"):
        step_models()["jpeg"].model_validate({"op": "jpeg", "quality": 50}).size_after((65_501, 7))
