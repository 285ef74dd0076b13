"""Recipes and the list of steps: what a name, or a field of the transform, stands for."""

from pathlib import Path
from typing import Any

import pytest
from support.imaging.pinning import digests

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.sequences.step_list import list_steps
from penstock.protocol.spec.spec import parse_spec
from penstock.protocol.spec.transform import Transform

FLIP = {"op": "flip", "p": 0.5}
#: What each recipe is called with, its steps written out, and the size of its samples.
RECIPES: list[tuple[Any, list[dict[str, Any]], tuple[int, int, int]]] = [
    ("imagenet-train", [{"op": "random_resized_crop", "size": 224}, FLIP], (224, 224, 3)),
    (
        {"name": "imagenet-eval", "size": 35},
        [{"op": "resize", "shorter": 40}, {"op": "center_crop", "size": 35}],
        (35, 35, 3),
    ),
    ("imagenet-eval", [{"op": "resize", "shorter": 256}, {"op": "center_crop", "size": 224}], (224, 224, 3)),
    (
        {"name": "simclr", "size": 40},
        [
            {"op": "random_resized_crop", "size": 40},
            FLIP,
            {"op": "color_jitter", "brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2, "p": 0.8},
            {"op": "grayscale", "p": 0.2},
            {"op": "gaussian_blur", "kernel_size": 5, "p": 0.5},
        ],
        (40, 40, 3),
    ),
    ("cifar-train", [{"op": "random_crop", "size": 32, "padding": 4}, FLIP], (32, 32, 3)),
    (
        {"name": "timm-a1", "size": 40},
        [
            {"op": "random_resized_crop", "size": 40, "filter": "bicubic"},
            FLIP,
            {"op": "timm_rand_augment", "magnitude": 7, "magnitude_std": 0.5, "fill": [124, 116, 104]},
        ],
        (40, 40, 3),
    ),
    (
        {"name": "coco-detection", "size": 48},
        [
            FLIP,
            {"op": "color_jitter", "contrast": 0.5, "saturation": 0.5, "hue": 0.05, "p": 0.5}
            | {"brightness": [0.875, 1.125]},
            {"op": "letterbox", "size": 48},
        ],
        (48, 48, 3),
    ),
    (
        {"name": "segmentation", "size": 40},
        [{"op": "random_resized_crop", "size": 40, "scale": [0.25, 1]}, FLIP],
        (40, 40, 3),
    ),
]


@pytest.mark.parametrize(("recipe", "steps", "shape"), RECIPES, ids=str)
def test_a_recipe_is_its_steps(
    recipe: Any, steps: list[dict[str, Any]], shape: tuple[int, int, int], tmp_path: Path
) -> None:
    """Samples are byte for byte those of the steps; steps of one's own come after them, with keys of their own."""
    short, long = Transform.model_validate({"recipe": recipe}), Transform.model_validate({"steps": steps})
    assert long.steps == short.all_steps
    assert shape == short.image_shape
    assert digests(tmp_path, {"steps": steps}, 2)[0] == digests(tmp_path, {"recipe": recipe}, 2)[0]
    more = Transform.model_validate({"recipe": recipe, "steps": [FLIP]})
    assert [*long.step_keys, f"flip#{steps.count(FLIP)}"] == list(more.step_keys)


def test_the_keras_recipe_is_its_fields(tmp_path: Path) -> None:
    """`resize` and `augment` as Keras's examples have them; tables in the spec replace the recipe's, one by one."""
    augment: dict[str, Any] = {"rotation_range": 40, "width_shift_range": 0.2, "height_shift_range": 0.2}
    augment |= {"shear_range": 0.2, "zoom_range": 0.2, "horizontal_flip": True, "axes": "keras"}
    long = {"resize": {"height": 40, "width": 40, "filter": "nearest"}, "augment": augment}
    recipe = {"name": "keras-imagedatagenerator", "size": 40}
    short = Transform.model_validate({"recipe": recipe})
    assert (40, 40, 3) == short.image_shape
    assert digests(tmp_path, long, 1)[0] == digests(tmp_path, {"recipe": recipe}, 1)[0]
    assert short == Transform.model_validate_json(short.model_dump_json())
    assert (256, 256, 3) == Transform.model_validate({"recipe": "keras-imagedatagenerator"}).image_shape
    other = Transform.model_validate({"recipe": recipe, "resize": [20, 30], "steps": [FLIP]})
    assert ((20, 30, 3), short.augment) == (other.image_shape, other.augment)


def test_a_spec_with_a_recipe_survives_being_sent() -> None:
    """What the ventilator dumps is what a worker reads."""
    transform = Transform.model_validate({"recipe": "imagenet-train", "steps": [FLIP]})
    assert transform == Transform.model_validate_json(transform.model_dump_json())
    assert "recipe" not in Transform.model_validate({"steps": RECIPES[0][1]}).model_dump()


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        ({"recipe": "imagenet"}, r"recipe.name = 'imagenet': Input should be 'imagenet-train'"),
        ({"steps": [FLIP]}, "samples need one shape: give resize"),
        ({"steps": [{"op": "random_resized_crop", "size": 8, "p": 0.5}]}, "samples need one shape"),
        (
            {"resize": [8, 8], "steps": [{"op": "random_crop", "size": 9}]},
            r"step random_crop#0: random_crop cuts 9 × 9",
        ),
        ({"recipe": "cifar-train", "augment": {"rotation_range": 5}}, "augment changes samples of one size"),
        ({"steps": [{"op": "resize"}]}, "give size = .height, width., or the length of a side"),
        ({"steps": [{"op": "random_resized_crop", "size": 8, "scale": [0.5, 0.1]}]}, "first number must not exceed"),
        ({"steps": [{"op": "pad", "padding": 1, "fill": [1, 2]}]}, "give one level, or one for each channel"),
    ],
)
def test_a_transform_that_cannot_be_made_is_refused_with_the_reason(transform: dict[str, Any], words: str) -> None:
    """When the spec is read, and naming the field."""
    source = {"kind": "directory", "root": "photos"}
    with pytest.raises(SpecError, match=words):
        parse_spec({"streams": {"train": {"source": source, "transform": transform}}})


def test_steps_that_keep_or_restore_the_size_may_be_left_to_chance() -> None:
    """`p` below 1 makes sizes vary only where the step changes the size."""
    padded = [{"op": "random_crop", "size": 8, "padding": 2, "p": 0.5}]
    assert (8, 8, 3) == Transform.model_validate({"resize": [8, 8], "steps": padded}).image_shape
    varying = [{"op": "pad", "padding": 2, "p": 0.5}, {"op": "center_crop", "size": 6}]
    assert (6, 6, 3) == Transform.model_validate({"resize": [8, 8], "steps": varying}).image_shape


def test_every_field_is_listed_as_the_steps_that_it_stands_for() -> None:
    """In the order in which they are applied, with parameters that were given, and the chance."""
    transform = Transform.model_validate(
        {
            "resize": [64, 64],
            "patch": {"kind": "random", "height": 32, "width": 32},
            "manipulations": {"choices": [{"kind": "gamma", "value": 0.8}]},
            "augment": {"rotation_range": 10, "horizontal_flip": True, "brightness_range": [0.5, 1.5]},
            "recipe": "cifar-train",
            "steps": [{"op": "rotate", "degrees": 5, "p": 0.25}],
        }
    )
    listed = [(step.field, step.op, step.p) for step in list_steps(transform)]
    assert [
        ("resize", "resize", 1.0),
        ("patch", "random_crop", 1.0),
        ("manipulations", "one_of", 1.0),
        ("augment", "affine", 1.0),
        ("augment", "flip", 0.5),
        ("augment", "brightness", 1.0),
        ("recipe", "random_crop", 1.0),
        ("recipe", "flip", 0.5),
        ("steps.0", "rotate", 0.25),
    ] == listed
    assert {"degrees": [-5.0, 5.0], "filter": "nearest", "fill": [0]} == list_steps(transform)[-1].parameters
