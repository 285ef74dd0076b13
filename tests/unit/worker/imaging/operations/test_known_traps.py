"""What loaders get wrong without an error: each of these tests fails for the usual mistake."""

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from support.images import Pixels, picture
from support.imaging.pipelines import make_plan

from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.spec.operation_table import step_models
from penstock.worker.imaging.operations.policies.augmentations import magnitude_of
from penstock.worker.imaging.pipeline import Pipeline
from penstock.worker.imaging.program import Program, Programmer


def program(op: str, image: tuple[int, int], draws: list[float] | None = None, **settings: Any) -> Program:
    """Return what a step does to an image of this size."""
    step = step_models()[op].model_validate({"op": op, **settings})
    programmer = Programmer(image, 10**8)
    programmer.add(step.actions(image, np.array(draws if draws is not None else [0.0] * step.uniforms)))
    return programmer.program()


def applied(op: str, pixels: Pixels, draws: list[float] | None = None, **settings: Any) -> Pixels:
    """Return what a step makes of an image."""
    return program(op, (pixels.shape[0], pixels.shape[1]), draws, **settings).run(pixels)


def test_a_reduction_is_antialiased() -> None:
    """Pillow's bilinear filter widens with the reduction; OpenCV's does not, and shows one colour of stripes."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    found = applied("resize", stripes, size=[16, 16])
    expected = np.asarray(Image.fromarray(stripes).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(expected, found)
    assert np.abs(found[4:-4, 4:-4].astype(int) - 127).max() <= 1
    photo = picture(1, 1, 90, 120)
    aliased = cv2.resize(photo, (30, 20), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(aliased - applied("resize", photo, size=[20, 30])).mean() > 1.0


def test_hue_is_turned_in_255_whole_steps() -> None:
    """As on PIL images: 8-bit HSV, the turn rounded towards zero; a turn below 1/255 changes no hue."""
    photo = picture(2, 2, 40, 50)
    hsv = np.array(Image.fromarray(photo).convert("HSV"))
    for turn in (0.003, -0.003, 0.25, -0.4, 0.5):
        settings: dict[str, Any] = {"brightness": [1, 1], "contrast": [1, 1], "saturation": [1, 1], "hue": [turn, turn]}
        wanted = hsv.copy()
        wanted[..., 0] += np.array(int(turn * 255)).astype(np.uint8)
        expected = np.asarray(Image.fromarray(wanted, "HSV").convert("RGB"))
        assert np.array_equal(expected, applied("color_jitter", photo, **settings)), turn


@pytest.mark.parametrize(("value", "erased"), [(0, -2.0), (128, 0.0)])
def test_erasing_comes_before_normalisation(value: int, erased: float, tmp_path: Any) -> None:
    """Levels are erased: black becomes the lowest number, and only the mean's colour becomes 0."""
    transform = {
        "steps": [{"op": "resize", "size": 24}, {"op": "random_erasing", "value": [value], "scale": [0.4, 0.5]}],
        "normalize": {"rescale": 1 / 64, "featurewise_center": True, "mean": [2.0]},
    }
    Image.fromarray(np.full((30, 30, 3), 200, np.uint8)).save(tmp_path / "1.png")
    plan = make_plan(transform)
    item = Item(item=0, path="1.png", label=0)
    task = Task(key=TaskKey(stream=plan.name, ordinal=0), attempt=0, epoch=0, items=(item,))
    image = Pipeline(plan, {"photos": tmp_path}).run(task).arrays[0][0]
    assert {erased, 200 / 64 - 2.0} == {float(value) for value in np.unique(image)}
    assert 0.3 < float((image == erased).mean()) < 0.6


def test_magnitudes_of_translations_follow_the_image() -> None:
    """RandAugment's greatest translation is 150 of 331 pixels of the side, not 150 pixels of any image."""
    for size in ((331, 331), (32, 32), (224, 500)):
        for name, side in (("TranslateX", size[1]), ("TranslateY", size[0])):
            assert magnitude_of(name, 30, 31, size) == pytest.approx(150 / 331 * side, rel=1e-6)
    assert magnitude_of("Rotate", 30, 31, (32, 32)) == magnitude_of("Rotate", 30, 31, (500, 500)) == 30.0


def test_pixels_have_their_centres_half_a_pixel_in() -> None:
    """Enlarging interpolates between centres, turns are about the middle of the image, and points move likewise."""
    ramp = np.array([[[0] * 3, [200] * 3]], np.uint8)
    assert [0, 50, 150, 200] == applied("resize", ramp, size=[1, 4])[0, :, 0].tolist()
    square = picture(3, 0, 31, 31)
    for degrees, turns in ((90, 1), (180, 2), (270, 3)):
        assert np.array_equal(np.rot90(square, turns), applied("rotate", square, degrees=[degrees, degrees])), degrees
    moves = program("resize", (10, 10), size=[20, 40]).moves
    points = np.array([[0.5, 0.5], [10.0, 10.0]])
    for move in moves:
        points = move.points(points, (10, 10))
    assert [[2.0, 1.0], [40.0, 20.0]] == points.tolist()
