"""Rotation, affine maps and perspectives give the pixels of torchvision's transforms v2 on PIL images."""

import importlib
import math
from typing import Any

import numpy as np
import pytest
from support.images import Pixels
from support.imaging.torchvision_reference import applied, drawn, functional, image, make_step, pil, transforms

from penstock.worker.imaging.operations.parameters import between, sine_cosine

pytestmark = pytest.mark.torch

F, T = functional(), transforms()
torch: Any = importlib.import_module("torch")
stats: Any = importlib.import_module("scipy.stats")
SIZES = [(40, 60), (61, 37), (64, 64)]
FILTERS = ["nearest", "bilinear", "bicubic"]
LEAST_P = 1e-3


def mode(name: str) -> Any:
    """Return torchvision's name of a filter."""
    return F.InterpolationMode[name.upper()]


def same(expected: Any, found: Pixels, name: str) -> bool:
    """Tell whether two images are the same but for the last digit of a sine.

    With `nearest` all pixels are equal; else one pixel of 400 may differ by a level.
    """
    difference = np.abs(np.asarray(expected).astype(int) - found)
    return bool(difference.max() <= (name != "nearest") and np.any(difference, axis=2).mean() <= 1 / 400)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FILTERS)
def test_rotate_is_torchvisions(size: tuple[int, int], name: str) -> None:
    """The same pixels given the angle, right angles included."""
    pixels = image(1, *size)
    for degrees in (0.0, 13.7, -45.0, 90.0, 180.0, 270.0, 359.5, -200.3):
        expected = F.rotate(pil(pixels), degrees, mode(name), fill=[5, 6, 7])
        step = make_step("rotate", degrees=[degrees, degrees], filter=name, fill=[5, 6, 7])
        assert same(expected, applied(step, pixels), name), degrees


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FILTERS)
def test_affine_is_torchvisions(size: tuple[int, int], name: str) -> None:
    """The same pixels given angle, translation, scale and shears."""
    settings = {"translate": [0.2, 0.1], "scale": [0.5, 2.0], "shear_x": [-20, 20], "shear_y": [-9, 9]}
    step, pixels = make_step("affine", degrees=70, filter=name, fill=3, **settings), image(2, *size)
    for draws in drawn(step, 25):
        across, down = 0.2 * size[1], 0.1 * size[0]
        expected = F.affine(
            pil(pixels),
            between(-70, 70, draws[0]),
            [round(between(-across, across, draws[1])), round(between(-down, down, draws[2]))],
            between(0.5, 2.0, draws[3]),
            [between(-20, 20, draws[4]), between(-9, 9, draws[5])],
            mode(name),
            [3],
        )
        assert same(expected, applied(step, pixels, draws), name)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FILTERS)
def test_perspective_is_torchvisions(size: tuple[int, int], name: str) -> None:
    """The same pixels given the corners; torchvision solves for the coefficients by least squares."""
    step, pixels = make_step("perspective", distortion_scale=0.6, filter=name, fill=3), image(3, *size)
    height, width = size
    starts = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    for draws in drawn(step, 25):
        ends = [list(corner) for corner in step.corners(size, draws.tolist())]
        expected = F.perspective(pil(pixels), starts, ends, mode(name), [3])
        assert np.array_equal(np.asarray(expected), applied(step, pixels, draws))


def test_the_corners_of_a_perspective_are_distributed_as_torchvisions() -> None:
    """Each coordinate of each corner is uniform over the same whole numbers: chi-squared."""
    step, size = make_step("perspective"), (21, 34)
    found = np.array([np.ravel(step.corners(size, draws.tolist())) for draws in drawn(step, 100_000)])
    down, across = int(0.5 * 10) + 1, int(0.5 * 17) + 1
    left, right, top, bottom = range(across), range(34 - across, 34), range(down), range(21 - down, 21)
    for column, values in enumerate((left, top, right, top, right, bottom, left, bottom)):
        counts = [int((found[:, column] == value).sum()) for value in values]
        assert len(found) == sum(counts)
        assert stats.chisquare(counts).pvalue > LEAST_P


def test_affine_draws_as_torchvision() -> None:
    """Angle, translation, scale and shear: Kolmogorov-Smirnov against 10^5 draws of its own."""
    theirs = T.RandomAffine(30, (0.1, 0.3), (0.5, 2.0), (-10, 10, -5, 5))
    torch.manual_seed(3)
    picture = pil(image(1, 300, 400))
    rows = [theirs.make_params([picture]) for _ in range(100_000)]
    step = make_step("affine", degrees=30, translate=[0.1, 0.3], scale=[0.5, 2], shear_x=[-10, 10], shear_y=[-5, 5])
    draws = drawn(step, 100_000)
    ranges = [(-30, 30), (-40, 40), (-90, 90), (0.5, 2.0), (-10, 10), (-5, 5)]
    wanted = np.array([(row["angle"], *row["translate"], row["scale"], *row["shear"]) for row in rows])
    for column, (low, high) in enumerate(ranges):
        found = low + (high - low) * draws[:, column]
        found = np.round(found) if column in (1, 2) else found
        assert stats.ks_2samp(wanted[:, column], found).pvalue > LEAST_P, column


def test_sines_are_right_to_the_last_digits() -> None:
    """Penstock's own sine and cosine are those of the C library, to 3·10^-15."""
    for degrees in np.linspace(-800, 800, 4001).tolist():
        sine, cosine = sine_cosine(degrees)
        assert abs(sine - math.sin(math.radians(degrees))) < 3e-15
        assert abs(cosine - math.cos(math.radians(degrees))) < 3e-15


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["nearest", "bilinear"])
def test_elastic_is_torchvisions(size: tuple[int, int], name: str) -> None:
    """Given the displacements: within a level, as coordinates are rounded to 1/256 pixel; `nearest` but for halves.

    Without a fill: torchvision weighs pixels at the edge twice where it has one.
    """
    step, pixels, key = make_step("elastic", alpha=120, sigma=4, filter=name), image(4, *size), np.array([0.37])
    shifts = step.actions(size, key)[0].shifts(size)
    displacement = np.stack([shifts[0] * 2 / size[1], shifts[1] * 2 / size[0]], axis=2)[np.newaxis]
    expected = np.asarray(F.elastic(pil(pixels), torch.from_numpy(displacement), mode(name))).astype(int)
    different = np.any(np.abs(expected - applied(step, pixels, key)) > (name == "bilinear"), axis=2)
    assert different.mean() <= (0.0 if name == "bilinear" else 1 / 100)


def test_displacements_are_distributed_as_torchvisions() -> None:
    """Kolmogorov-Smirnov: 10^5 of pixels that lie ten apart, further than the smoothing reaches, along both axes."""
    torch.manual_seed(3)
    step, reference, empty = make_step("elastic", sigma=1), T.ElasticTransform(sigma=1.0), torch.zeros(3, 600, 800)
    theirs = np.array([reference.make_params([empty])["displacement"].numpy()[0, 5::10, 5::10] for _ in range(21)])
    fields = (step.actions((600, 800), draws)[0].shifts((600, 800)) for draws in drawn(step, 21))
    ours = np.array([[shifts[5::10, 5::10] for shifts in field] for field in fields])
    assert ours[:, 0].size > 100_000
    for axis, half in ((0, 400), (1, 300)):
        assert stats.ks_2samp(theirs[..., axis].ravel() * half, ours[:, axis].ravel()).pvalue > LEAST_P


def test_a_rotation_draws_as_torchvision() -> None:
    """The angle is uniform over the same range: Kolmogorov-Smirnov, 10^5 draws of each."""
    step, theirs = make_step("rotate", degrees=[-20, 70]), T.RandomRotation((-20, 70))
    torch.manual_seed(6)
    wanted = np.array([theirs.make_params([])["angle"] for _ in range(100_000)])
    found = np.array([between(step.degrees[0], step.degrees[1], draw) for draw in drawn(step, 100_000)[:, 0].tolist()])
    assert stats.ks_2samp(wanted, found).pvalue > LEAST_P
