"""A sample's image as a picture: any size, any range of numbers, any order of axes."""

import numpy as np
import pytest

from penstock.contact_sheet.pictures import Range, arrange, find_range, resize, to_picture


@pytest.mark.parametrize(
    ("shape", "side", "expected"),
    [
        ((16, 16, 3), 256, (128, 128)),  # enlarged 8 times
        ((30, 40, 1), 256, (90, 120)),  # 3 times
        ((100, 100, 3), 256, (100, 100)),
        ((224, 224, 3), 256, (224, 224)),
        ((500, 400, 3), 256, (256, 205)),
        ((1, 2000, 3), 256, (1, 256)),
    ],
)
def test_images_of_all_sizes_are_shown_at_a_sensible_one(
    shape: tuple[int, ...], side: int, expected: tuple[int, int]
) -> None:
    """Small ones by a whole factor, pixel by pixel; large ones reduced; others as they are."""
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    shown = resize(image, side)
    assert expected == shown.shape[:2]
    if factor := expected[1] // shape[1]:
        np.testing.assert_array_equal(image, shown[::factor, ::factor])


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [
        ("uint8", 3, 200, Range(0.0, 255.0, given=True)),
        ("bool", 0, 1, Range(0.0, 1.0, given=True)),
        ("float32", 0.1, 0.9, Range(0.0, 1.0)),
        ("float16", -0.9, 0.9, Range(-1.0, 1.0)),
        ("float32", 0.0, 254.0, Range(0.0, 255.0)),
    ],
)
def test_levels_are_those_that_the_numbers_belong_to(dtype: str, low: float, high: float, expected: Range) -> None:
    """So that images rescaled to 0 to 1 or -1 to 1 look as they did before."""
    assert expected == find_range(dtype, [np.linspace(low, high, 100).reshape(10, 10, 1).astype(dtype)])


def test_numbers_of_no_known_range_are_shown_without_their_outliers() -> None:
    """One value of a million hides nothing; all images share one range; what is no number is black."""
    values = np.random.default_rng(0).normal(0.0, 1.0, (100, 100, 1)).astype(np.float32)
    values[0, 0], values[0, 1], values[0, 2] = 1e6, np.nan, np.inf
    shown = find_range("float32", [values, values])
    assert -3.5 < shown.low < -2.0
    assert 2.0 < shown.high < 3.5
    pixels = np.asarray(to_picture(values, shown))
    assert [255, 0, 255] == pixels[0, :3, 0].tolist()
    assert abs(127 - float(pixels.mean())) < 10


def test_small_numbers_are_not_taken_for_dark_levels() -> None:
    """A logarithm of 0 to 12 fills no quarter of 0 to 255: it is shown in its own range."""
    shown = find_range("float32", [np.linspace(0.0, 12.0, 10_000, dtype=np.float32).reshape(100, 100, 1)])
    assert (0.06, 11.94) == (round(shown.low, 2), round(shown.high, 2))


def test_any_order_of_axes_and_number_of_channels_has_a_picture() -> None:
    """Two axes are gray; of two channels the first is shown, of many the first three; a vector has none."""
    pixels = np.arange(5 * 7 * 6, dtype=np.uint8).reshape(5, 7, 6)
    for image, first, expected in [
        (pixels[..., :3], False, pixels[..., :3]),
        (pixels[..., :3].transpose(2, 0, 1), True, pixels[..., :3]),
        (pixels[..., :3].transpose(2, 0, 1), None, pixels[..., :3]),
        (pixels[..., :1].transpose(2, 0, 1), None, pixels[..., :1]),
        (pixels[..., 0], None, pixels[..., :1]),
        (pixels[..., :2], False, pixels[..., :1]),
        (pixels, False, pixels[..., :3]),
    ]:
        found = arrange(image, channels_first=first)
        assert found is not None
        np.testing.assert_array_equal(expected, found)
    assert arrange(pixels[0, 0]) is None
