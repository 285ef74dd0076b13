"""Colour steps give the pixels of torchvision's transforms v2 on PIL images, and draw as they do."""

import importlib
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from support.images import Pixels
from support.imaging.torchvision_reference import applied, drawn, functional, image, make_step, pil, transforms

from penstock.worker.imaging.operations.parameters import between

pytestmark = pytest.mark.torch

F, T = functional(), transforms()
torch: Any = importlib.import_module("torch")
stats: Any = importlib.import_module("scipy.stats")
LEAST_P = 1e-3


def pictures() -> list[Pixels]:
    """Return pictures of several sizes, one of them a single colour, one all colours of a grid."""
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, len(levels), 3)
    return [image(1, 40, 61), image(2, 7, 5), np.full((4, 4, 3), 77, np.uint8), grid]


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ({"op": "invert"}, F.invert),
        ({"op": "posterize", "bits": 3}, lambda picture: F.posterize(picture, 3)),
        ({"op": "posterize", "bits": 8}, lambda picture: F.posterize(picture, 8)),
        ({"op": "solarize", "threshold": 100}, lambda picture: F.solarize(picture, 100)),
        ({"op": "gamma", "gamma": [0.6, 0.6]}, lambda picture: F.adjust_gamma(picture, 0.6)),
        ({"op": "grayscale"}, lambda picture: F.to_grayscale(picture, 3)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_colour_step_is_torchvisions(settings: dict[str, Any], reference: Any) -> None:
    """The same pixels."""
    for pixels in pictures():
        assert np.array_equal(np.asarray(reference(pil(pixels))), applied(make_step(**settings), pixels))


def test_color_jitter_is_torchvisions() -> None:
    """The same pixels given order and amounts."""
    step = make_step("color_jitter", brightness=0.9, contrast=[0, 2], saturation=0.8, hue=0.5)
    names = ("brightness", "contrast", "saturation", "hue")
    functions = [getattr(F, f"adjust_{name}") for name in names]
    orders = [order for order in np.ndindex(4, 4, 4, 4) if len(set(order)) == 4]
    for pixels in pictures():
        for draws in drawn(step, 40):
            picture = pil(pixels)
            for place in orders[int(draws[0] * 24)]:
                low, high = getattr(step, names[place])
                picture = functions[place](picture, between(low, high, draws[1 + place]))
            assert np.array_equal(np.asarray(picture), applied(step, pixels, draws))


def test_color_jitter_reads_amounts_as_torchvision() -> None:
    """A single number stands for the same range."""
    settings = {"brightness": 1.5, "contrast": 0.4, "saturation": [0.2, 3.0], "hue": 0.1}
    step, theirs = make_step("color_jitter", **settings), T.ColorJitter(**settings)
    for name in settings:
        assert tuple(getattr(theirs, name)) == getattr(step, name), name


def test_random_erasing_is_torchvisions_given_the_rectangle() -> None:
    """The same pixels, on levels."""
    step, pixels = make_step("random_erasing", value=[1, 2, 3]), image(4, 50, 40)
    for draws in drawn(step, 30):
        window = step.window((50, 40), draws.tolist())
        value = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
        expected = F.erase(pil(pixels), window.y, window.x, window.height, window.width, value)
        assert np.array_equal(np.asarray(expected), applied(step, pixels, draws))


@pytest.mark.parametrize("quality", [1, 40, 75, 95, 100])
def test_jpeg_is_torchvisions(quality: int) -> None:
    """The same pixels: on PIL images torchvision compresses by Pillow, with its default chroma 4:2:0."""
    for pixels in pictures():
        expected = np.asarray(F.jpeg(pil(pixels), quality))
        assert np.array_equal(expected, applied(make_step("jpeg", quality=quality), pixels))


def test_jpeg_draws_each_quality_as_often() -> None:
    """Uniform over the whole numbers, both ends included, as torchvision's (chi-squared)."""
    step, theirs = make_step("jpeg", quality=[30, 39]), T.JPEG((30, 39))
    draws = drawn(step, 100_000)[:, 0]
    counts = np.bincount([30 + int(draw * 10) for draw in draws], minlength=40)[30:]
    torch.manual_seed(1)
    wanted = np.bincount([int(theirs.make_params([])["quality"]) for _ in range(100_000)], minlength=40)[30:]
    assert stats.chi2_contingency([counts, wanted]).pvalue > LEAST_P
    low, high = (applied(step, image(1, 16, 16), np.array([draw])) for draw in (0.0, np.nextafter(1.0, 0.0)))
    assert np.array_equal(low, applied(make_step("jpeg", quality=30), image(1, 16, 16)))
    assert np.array_equal(high, applied(make_step("jpeg", quality=39), image(1, 16, 16)))


def test_channel_permutation_is_torchvisions() -> None:
    """The same pixels for each of the six orders, each drawn as often (chi-squared)."""
    step, pixels = make_step("channel_permutation"), image(1, 20, 31)
    orders = list(itertools.permutations(range(3)))
    for place, order in enumerate(orders):
        expected = np.asarray(F.permute_channels(pil(pixels), list(order)))
        assert np.array_equal(expected, applied(step, pixels, np.array([(place + 0.5) / 6])))
    probe = np.array([[[0, 1, 2]]], np.uint8)
    found = Counter(tuple(applied(step, probe, draws)[0, 0].tolist()) for draws in drawn(step, 100_000))
    assert set(orders) == set(found)
    assert stats.chisquare(list(found.values())).pvalue > LEAST_P


@pytest.mark.parametrize("size", [(50, 40), (5, 200)])
def test_random_erasing_draws_as_torchvision(size: tuple[int, int]) -> None:
    """Area, ratio and place are distributed alike (Kolmogorov-Smirnov), and as often nothing is erased."""
    step, theirs = make_step("random_erasing"), T.RandomErasing()
    torch.manual_seed(5)
    picture = pil(image(1, *size))
    rows = [theirs.make_params([picture]) for _ in range(20_000)]
    wanted = np.array([[row[name] for name in "ijhw"] for row in rows if row["v"] is not None])
    windows = [step.window(size, draws.tolist()) for draws in drawn(step, 100_000)]
    found = np.array([(window.y, window.x, window.height, window.width) for window in windows if window is not None])
    for column in range(4):
        assert stats.ks_2samp(wanted[:, column], found[:, column]).pvalue > LEAST_P
    table = [[len(wanted), len(rows) - len(wanted) + 1], [len(found), len(windows) - len(found) + 1]]
    assert stats.chi2_contingency(table).pvalue > LEAST_P


@pytest.mark.parametrize(("side", "sigma"), [(3, 0.5), (9, 2.0), (23, 0.3), (23, 1.9)])
def test_gaussian_blur_is_torchvisions_within_a_level(side: int, sigma: float) -> None:
    """Weights have 8 bits here and 24 there: one level, on noise."""
    pixels = image(5, 60, 80)
    expected = np.asarray(F.gaussian_blur(pil(pixels), [side, side], [sigma, sigma])).astype(int)
    found = applied(make_step("gaussian_blur", kernel_size=side, sigma=[sigma, sigma]), pixels)
    assert np.abs(expected - found).max() <= 1


def test_a_blur_draws_as_torchvision() -> None:
    """The standard deviation is uniform over the same range: Kolmogorov-Smirnov, 10^5 draws of each."""
    step, theirs = make_step("gaussian_blur", kernel_size=9, sigma=[0.3, 1.7]), T.GaussianBlur(9, (0.3, 1.7))
    torch.manual_seed(6)
    wanted = np.array([theirs.make_params([])["sigma"][0] for _ in range(100_000)])
    found = np.array([between(step.sigma[0], step.sigma[1], draw) for draw in drawn(step, 100_000)[:, 0].tolist()])
    assert stats.ks_2samp(wanted, found).pvalue > LEAST_P
