"""The compiled loops give the bytes of Pillow, and of what is done without them."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from support.images import Pixels, picture

from penstock.worker.imaging.bicubic import height_first
from penstock.worker.imaging.compiled import loops
from penstock.worker.imaging.operations.color import blending, enhance
from penstock.worker.imaging.operations.geometry.affine import affine_matrix
from penstock.worker.imaging.resize import resize_pillow, transform_pillow

pytestmark = pytest.mark.skipif(
    loops.COLORS is None or loops.RESAMPLING is None, reason="the compiled loops were not built here"
)
CHANGES: dict[str, Callable[[Pixels, float], Pixels]] = {
    "contrast": blending.contrast,
    "saturation": blending.saturation,
    "sharpness": enhance.sharpened,
    "hue": lambda pixels, factor: blending.hue(pixels, (factor - 2.5) / 5),
    "autocontrast": lambda pixels, _: enhance.autocontrasted(pixels),
    "equalize": lambda pixels, _: enhance.equalized(pixels),
}
#: Where a pixel comes from: rotations, shears, moves by whole and by broken pixels, out of the image, too far away.
MAPS = [
    (0.8, -0.6, 9.3, 0.6, 0.8, -11.25),
    (1.0, 0.27, 0.0, 0.0, 1.0, 0.0),
    (1.0, 0.0, 0.0, -0.3, 1.0, 0.0),
    *((1.0, 0.0, x, 0.0, 1.0, y) for x, y in ((0, 0), (7, -9), (-300, 2), (0.5, 0), (3.0, -0.25))),
    (0.5, 0.0, 3.0, 0.0, 2.0, 1.0),
    (0.0, 1.0, 0.0, -1.0, 0.0, 40.0),
    (900.0, 900.0, 5.0, 0.0, 1.0, 0.0),
]


def images() -> list[Pixels]:
    """Return noise, a picture, one of few levels, one of one level, views and tiny images."""
    noise = np.random.default_rng(3).integers(0, 256, (70, 301, 3), np.uint8)
    tiny = [noise[:h, :w] for h, w in ((1, 1), (2, 2), (3, 3), (1, 9), (9, 1), (2, 40), (40, 2))]
    return [noise, noise[3:40, 5:77], picture(1, 2, 60, 50), noise // 64 * 64, np.full((9, 8, 3), 77, np.uint8), *tiny]


@pytest.mark.parametrize("name", CHANGES)
def test_colours_are_changed_alike_without_the_loops(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change, with factors inside and outside of 0 to 1, and the image stays as it was."""
    for pixels in images():
        before = pixels.copy()
        for factor in (0.0, 0.3, 1.0, 1.7, 4.9):
            found = CHANGES[name](pixels, factor)
            with monkeypatch.context() as patch:
                patch.setattr(loops, "COLORS", None)
                assert np.array_equal(CHANGES[name](pixels, factor), found), (pixels.shape, factor)
        assert np.array_equal(before, pixels)


@pytest.fixture(params=[1, 2, 3], ids=["plain", "avx2", "avx512"])
def vectors(request: pytest.FixtureRequest) -> Iterator[int]:
    """Let the loops use no vectors, those of AVX2, or those of AVX-512 as well; skip what this processor lacks."""
    if request.param != loops.RESAMPLING.limit_vectors(request.param):
        loops.RESAMPLING.limit_vectors(3)
        pytest.skip("this processor has no such vectors")
    yield request.param
    loops.RESAMPLING.limit_vectors(3)


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("filter_", ["box", "bilinear", "bicubic"])
def test_images_are_resized_as_pillow_does(filter_: str) -> None:
    """Larger, smaller, one of both, by factors near 1 and far from it, from views too, with any vectors."""
    rng = np.random.default_rng(7)
    for turn in range(120):
        limits = rng.choice([5, 40, 260], 4)
        height, width, to_height, to_width = (int(rng.integers(1, limit)) for limit in limits)
        noise = rng.integers(0, 256, (height + 2, width + 3, 3), np.uint8)
        pixels = (noise // 128 * 255 if turn % 3 else noise)[1 : height + 1, 2 : width + 2]
        resample = Image.Resampling[filter_.upper()]
        expected = np.asarray(Image.fromarray(pixels).resize((to_width, to_height), resample))
        assert np.array_equal(expected, resize_pillow(pixels, filter_, (to_height, to_width))), pixels.shape


@pytest.mark.usefixtures("vectors")
def test_a_resized_image_leaves_the_memory_behind_it_alone() -> None:
    """Vectors write whole pixels of the last rows only, and what lies beyond the source's rows counts nothing."""
    rng = np.random.default_rng(8)
    for height, width, to_height, to_width in (
        (9, 30, 7, 13),
        (1, 5, 1, 3),
        (40, 17, 11, 33),
        (90, 4, 22, 2),
        (3, 400, 3, 25),
    ):
        around = rng.integers(0, 256, (height + 4, width + 9, 3), np.uint8)
        out = np.full((to_height + 2, to_width, 3), 77, np.uint8)
        first = height_first((height, width), (to_height, to_width))
        found = []
        for noise in (around, 255 - around):
            noise[2:-2, 4:-5] = around[2:-2, 4:-5]
            loops.RESAMPLING.resize(noise[2:-2, 4:-5], out[1:-1], 1, first)
            found.append(out.copy())
        assert np.array_equal(found[0], found[1]), width
        assert np.all(out[[0, -1]] == 77), width


@pytest.mark.parametrize("fill", [(0, 0, 0), (9, 8, 7)])
@pytest.mark.parametrize("data", MAPS, ids=str)
def test_nearest_pixels_are_those_of_pillow(data: tuple[float, ...], fill: tuple[int, ...]) -> None:
    """Wherever they lie, and the fill's colour beyond the image."""
    for pixels in images():
        image = Image.fromarray(pixels)
        moved = image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.NEAREST, fillcolor=fill)
        assert np.array_equal(np.asarray(moved), transform_pillow(pixels, "AFFINE", data, "nearest", fill))


def test_random_maps_are_those_of_pillow() -> None:
    """Matrices that nobody thought of."""
    rng = np.random.default_rng(11)
    [pixels] = images()[:1]
    image = Image.fromarray(pixels)
    for _ in range(60):
        data = tuple((rng.normal(0, 1, 6) * (1, 1, 60, 1, 1, 60)).tolist())
        moved = image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.NEAREST, fillcolor=(1, 1, 1))
        assert np.array_equal(np.asarray(moved), transform_pillow(pixels, "AFFINE", data, "nearest", (1, 1, 1))), data


def test_a_map_that_leads_just_too_far_is_left_to_pillow() -> None:
    """At the border of what the loop takes, half a pixel decides."""
    pixels = picture(1, 2, 16, 16)
    for step in range(400):
        data = (1.0, 0.0, 31_970.0 + step / 16, 300.0, 1.0, 0.0)
        moved = Image.fromarray(pixels).transform((16, 16), Image.Transform.AFFINE, data, Image.Resampling.NEAREST)
        assert np.array_equal(np.asarray(moved), transform_pillow(pixels, "AFFINE", data, "nearest", (0, 0, 0))), data
    data = affine_matrix((16, 16), 0.3, (-8, -8), 0.01, (87, 0))
    moved = Image.fromarray(pixels).transform((16, 16), Image.Transform.AFFINE, data, Image.Resampling.NEAREST)
    assert np.array_equal(np.asarray(moved), transform_pillow(pixels, "AFFINE", data, "nearest", (0, 0, 0)))


def test_loops_take_no_memory_that_is_no_image() -> None:
    """Another type, shape or order, and room that is too small or read-only, is refused before a byte is touched."""
    good = np.zeros((4, 5, 3), np.uint8)
    frozen = good.copy()
    frozen.flags.writeable = False
    views = (good[..., :2], good[:, ::-1], good[::-1], np.zeros((0, 5, 3), np.uint8))
    assert not any(loops.fits(view) for view in views)
    for wrong in (*views, good[0], good.astype(np.uint16)):
        with pytest.raises(ValueError, match="an image must be uint8"):
            loops.COLORS.saturate(wrong, good, 0.5)
        with pytest.raises(ValueError, match="an image must be uint8"):
            loops.RESAMPLING.resize(good, wrong, 1, 0)
    with pytest.raises(ValueError, match="both images must have one size"):
        loops.COLORS.saturate(good, np.zeros((4, 4, 3), np.uint8), 0.5)
    with pytest.raises(ValueError, match="read-only"):
        loops.COLORS.contrast(good, frozen, 0.5)
    with pytest.raises(ValueError, match="a table has another size"):
        loops.COLORS.look_up(good, good.copy(), b"short")
    with pytest.raises(ValueError, match="the map leads too far away"):
        loops.RESAMPLING.sample(good, good.copy(), 1 << 16, 1 << 30, 0, 0, 1 << 16, 0)
    with pytest.raises(ValueError, match="filter must be 0, 1 or 2"):
        loops.RESAMPLING.resize(good, good.copy(), 3, 0)
