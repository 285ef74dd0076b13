"""Crops, sizes and paddings give the pixels of torchvision's transforms v2 on PIL images, and draw as they do."""

import importlib
from typing import Any

import numpy as np
import pytest
from support.imaging.torchvision_reference import applied, drawn, functional, image, make_step, pil, transforms

from penstock.worker.imaging.operations.geometry.moves import Crop, Pad

pytestmark = pytest.mark.torch

F, T = functional(), transforms()
torch: Any = importlib.import_module("torch")
stats: Any = importlib.import_module("scipy.stats")
SIZES = [(40, 60), (61, 37), (33, 33), (9, 200)]
DRAWS = 100_000
#: A test of 10^5 draws with a fixed seed fails below this probability.
LEAST_P = 1e-3


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["bilinear", "bicubic", "nearest", "lanczos"])
@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"shorter": 24}, {"size": 24}),
        ({"longer": 45}, {"size": None, "max_size": 45}),
        ({"shorter": 50, "longer": 66}, {"size": 50, "max_size": 66}),
        ({"size": [31, 70]}, {"size": [31, 70]}),
    ],
)
def test_resize_is_torchvisions(
    size: tuple[int, int], name: str, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    """Shorter side, longer side, both limits and an exact size: the same pixels."""
    pixels = image(1, *size)
    expected = F.resize(pil(pixels), interpolation=F.InterpolationMode[name.upper()], **options)
    assert np.array_equal(np.asarray(expected), applied(make_step("resize", filter=name, **settings), pixels))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop", [[20, 31], [33, 33], [64, 20], [70, 71]])
def test_center_crop_is_torchvisions(size: tuple[int, int], crop: list[int]) -> None:
    """Odd margins, and sides that are too short: the same pixels."""
    pixels = image(2, *size)
    expected = np.asarray(F.center_crop(pil(pixels), crop))
    assert np.array_equal(expected, applied(make_step("center_crop", size=crop), pixels))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("padding", [[1, 2, 3, 4], [5, 0], 3])
def test_pad_is_torchvisions(mode: str, padding: Any) -> None:
    """Every mode, and one, two or four numbers: the same pixels."""
    pixels = image(3, 20, 30)
    fill = {"fill": (1, 2, 3)} if mode == "constant" else {}
    expected = np.asarray(F.pad(pil(pixels), padding, padding_mode=mode, **fill))
    assert np.array_equal(expected, applied(make_step("pad", padding=padding, mode=mode, **fill), pixels))


def test_flips_are_torchvisions() -> None:
    """Both directions."""
    pixels = image(4, 20, 30)
    for direction, flip in (("horizontal", F.hflip), ("vertical", F.vflip)):
        assert np.array_equal(np.asarray(flip(pil(pixels))), applied(make_step("flip", direction=direction), pixels))


@pytest.mark.parametrize(
    "settings",
    [{"padding": 4}, {"padding": [1, 2, 3, 4], "mode": "reflect"}, {"size": [50, 70], "pad_if_needed": True}],
)
def test_random_crop_is_torchvisions(settings: dict[str, Any]) -> None:
    """Where it cuts after which padding, and the same pixels given the place."""
    step, pixels = make_step("random_crop", **{"size": [32, 30], "fill": 7} | settings), image(5, 40, 44)
    theirs = T.RandomCrop(step.size, step.padding, step.pad_if_needed, fill=7, padding_mode=step.mode).make_params(
        [pil(pixels)]
    )
    for draws in drawn(step, 20):
        padding, crop = step.actions((40, 44), draws)
        assert isinstance(padding, Pad)
        assert isinstance(crop, Crop)
        assert theirs["padding"] == [padding.left, padding.top, padding.right, padding.bottom]
        window = crop.window
        padded = F.pad(pil(pixels), theirs["padding"], fill=7, padding_mode=step.mode)
        expected = F.crop(padded, window.y, window.x, window.height, window.width)
        assert np.array_equal(np.asarray(expected), applied(step, pixels, draws))


def test_random_crop_draws_every_place_alike() -> None:
    """Rows and columns are uniform: chi-squared over all places."""
    step = make_step("random_crop", size=28, padding=2)
    places = np.zeros((5, 7))
    for draws in drawn(step, DRAWS):
        window = step.actions((28, 30), draws)[1].window
        places[window.y, window.x] += 1
    assert stats.chisquare(places.ravel()).pvalue > LEAST_P


@pytest.mark.parametrize("size", [(300, 400), (60, 200), (300, 40)])
def test_random_resized_crop_is_torchvisions_given_the_part(size: tuple[int, int]) -> None:
    """The part lies in the image; cut and resized it has the same pixels."""
    step, pixels = make_step("random_resized_crop", size=[50, 60]), image(6, *size)
    for draws in drawn(step, 15):
        part = step.window(size, draws.tolist())
        expected = F.resized_crop(pil(pixels), part.y, part.x, part.height, part.width, [50, 60])
        assert np.array_equal(np.asarray(expected), applied(step, pixels, draws))


@pytest.mark.parametrize("size", [(300, 400), (60, 200), (300, 40)])
def test_random_resized_crop_draws_as_torchvision(size: tuple[int, int]) -> None:
    """Area, ratio and place are distributed alike (Kolmogorov-Smirnov), with the fallback as often."""
    step, pixels = make_step("random_resized_crop", size=50), pil(image(6, *size))
    theirs = T.RandomResizedCrop(50)
    torch.manual_seed(1)
    wanted = np.array([tuple(theirs.make_params([pixels]).values()) for _ in range(DRAWS // 5)])
    windows = (step.window(size, draws.tolist()) for draws in drawn(step, DRAWS))
    found = np.array([(window.y, window.x, window.height, window.width) for window in windows])
    assert stats.ks_2samp(wanted[:, 2] * wanted[:, 3], found[:, 2] * found[:, 3]).pvalue > LEAST_P
    assert stats.ks_2samp(wanted[:, 3] / wanted[:, 2], found[:, 3] / found[:, 2]).pvalue > LEAST_P
    for column in range(2):
        assert stats.ks_2samp(wanted[:, column], found[:, column]).pvalue > LEAST_P


def test_the_fallback_of_random_resized_crop_is_torchvisions() -> None:
    """Where no try fits, the largest centred part of a permitted ratio."""
    torch.manual_seed(2)
    for size in ((3, 500), (500, 3), (1, 77), (2, 9)):
        step, theirs = make_step("random_resized_crop", size=8, scale=[1, 1]), T.RandomResizedCrop(8, (1.0, 1.0))
        top, left, height, width = theirs.make_params([pil(image(1, *size))]).values()
        part = step.window(size, [0.3] * step.uniforms)
        assert (top, left, height, width) == (part.y, part.x, part.height, part.width)


@pytest.mark.parametrize(("op", "reference"), [("five_crop", "FiveCrop"), ("ten_crop", "TenCrop")])
def test_crops_of_each_patch_are_torchvisions(op: str, reference: str) -> None:
    """In its order, of odd margins too."""
    for size in ((40, 61), (33, 30)):
        pixels, step = image(5, *size), make_step(op, size=[20, 25])
        for patch, expected in enumerate(getattr(T, reference)((20, 25))(pil(pixels))):
            assert np.array_equal(np.asarray(expected), applied(step.of_patch(patch), pixels))
