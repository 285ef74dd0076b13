"""Manipulations: every patch equals, bit for bit, what is cut from the whole image manipulated by Pillow and numpy."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from support.images import Pixels, picture

from penstock.protocol.spec.manipulation import PRESETS, Manipulations
from penstock.protocol.spec.operation import Manipulation, Window
from penstock.worker.imaging import bicubic
from penstock.worker.imaging.operations.gamma import Gamma
from penstock.worker.imaging.operations.jpeg import Jpeg
from penstock.worker.imaging.operations.rescale import Rescale
from penstock.worker.imaging.operations.rotate import Rotate

CUP = "ieee-sp-cup-2018"
#: What the data sets of the Cup's patches are called, in the order of their indices.
CUP_NAMES = ("img", "gamma08", "gamma12", "qf90", "qf70", "bicubic05", "bicubic08", "bicubic15", "bicubic20")


def texture(seed: int, height: int, width: int, channels: int) -> Pixels:
    """Return a picture (height, width, channels) with edges, flat parts and noise; some are of black and white only."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, channels))
    blocks = np.kron(coarse, np.ones((8, 8, 1), int))[:height, :width]
    values = blocks + rng.normal(0.0, rng.choice([0.0, 4.0, 80.0]), blocks.shape)
    if rng.random() < 0.2:
        values = np.where(values < 128, 0, 255)
    pixels: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    return pixels


def image_of(pixels: Pixels) -> Image.Image:
    """Return Pillow's image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def whole(pixels: Pixels, manipulation: Manipulation) -> Pixels:
    """Manipulate a whole image with what everybody would use for it, but leave it unturned."""
    match manipulation:
        case Gamma(value=value):
            return np.floor(255.0 * (pixels / 255.0) ** value + 0.5).astype(np.uint8)
        case Jpeg(value=value):
            file = io.BytesIO()
            image_of(pixels).save(file, "JPEG", quality=value, subsampling=2)
            return np.asarray(Image.open(file)).reshape(pixels.shape)
        case Rescale(value=value):
            height, width = (max(1, int(np.floor(side * value + 0.5))) for side in pixels.shape[:2])
            resized = image_of(pixels).resize((width, height), Image.Resampling.BICUBIC)
            return np.asarray(resized).reshape(height, width, pixels.shape[2])
        case Rotate():
            return pixels
        case _:
            raise AssertionError(f"{manipulation!r} has no reference here")


@st.composite
def windows(draw: st.DrawFn, height: int, width: int) -> Window:
    """Return a part of an image of this size: often at an edge, sometimes all of it."""
    tall = draw(st.integers(1, height) | st.just(height))
    wide = draw(st.integers(1, width) | st.just(width))
    y = draw(st.integers(0, height - tall) | st.sampled_from([0, height - tall]))
    x = draw(st.integers(0, width - wide) | st.sampled_from([0, width - wide]))
    return Window(y, x, tall, wide)


seeds, sides, channels = st.integers(0, 10**6), st.integers(1, 120), st.sampled_from([1, 3])
factors = st.sampled_from([0.5, 0.8, 1.5, 2.0]) | st.floats(0.05, 4.0)
manipulations: st.SearchStrategy[Manipulation] = st.one_of(
    st.builds(Gamma, kind=st.just("gamma"), value=st.floats(0.01, 10.0)),
    st.builds(Jpeg, kind=st.just("jpeg"), value=st.integers(1, 100)),
    st.builds(Rescale, kind=st.just("resize"), value=factors),
    st.builds(Rotate, kind=st.just("rot90"), turns=st.integers(1, 3)),
)


# pixels


@settings(max_examples=600)
@given(st.data(), seeds, sides, sides, channels, manipulations)
def test_a_patch_is_what_is_cut_from_the_manipulated_whole(
    data: st.DataObject, seed: int, height: int, width: int, count: int, manipulation: Manipulation
) -> None:
    """Whatever the size, the channels, the place and the strength; turned patches are turned afterwards."""
    pixels = texture(seed, height, width, count)
    expected = whole(pixels, manipulation)
    assert expected.shape[:2] == manipulation.size((height, width))
    window = data.draw(windows(*expected.shape[:2]))
    found = manipulation.kernel().cut(pixels, window)
    turns = manipulation.turns if isinstance(manipulation, Rotate) else 0
    assert np.array_equal(np.rot90(window.of(expected), turns), found)


@settings(max_examples=600)
@given(st.data(), seeds, sides, sides, st.integers(1, 300), st.integers(1, 300))
@example(None, 1, 61, 30, 50, 60)
def test_any_size_is_resized_as_pillow_does(
    data: st.DataObject | None, seed: int, height: int, width: int, to_height: int, to_width: int
) -> None:
    """The sides may change by different factors, which decides whether Pillow starts with the height."""
    pixels, size = texture(seed, height, width, 3), (to_height, to_width)
    expected = np.asarray(image_of(pixels).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    window = data.draw(windows(*size)) if data else Window(0, 0, *size)
    found = bicubic.resize_part(pixels, size, window.y, window.x, window.height, window.width)
    assert np.array_equal(window.of(expected), found)


def test_pillow_starts_with_the_height_exactly_where_we_do() -> None:
    """Around the rule's edge, on both sides of it, in images where the order shows."""
    orders = set()
    for lost in range(-2, 5):
        for height in range(40, 46):
            size = (40, 30)
            pixels = texture(3, height, 30 + lost, 3)
            expected = np.asarray(image_of(pixels).resize((size[1], size[0]), Image.Resampling.BICUBIC))
            assert np.array_equal(expected, bicubic.resize_part(pixels, size, 0, 0, *size)), (height, lost)
            orders.add(bicubic.height_first(pixels.shape[:2], size))
    assert {False, True} == orders


@settings(max_examples=300)
@given(st.data(), seeds, sides, sides, channels, manipulations)
def test_nothing_outside_the_source_matters(
    data: st.DataObject, seed: int, height: int, width: int, count: int, manipulation: Manipulation
) -> None:
    """So a decoder may leave it out."""
    pixels, kernel = texture(seed, height, width, count), manipulation.kernel()
    window = data.draw(windows(*manipulation.size((height, width))))
    source = kernel.source((height, width), window)
    poisoned = 255 - pixels
    source.of(poisoned)[...] = source.of(pixels)
    assert np.array_equal(kernel.cut(pixels, window), kernel.cut(poisoned, window))


@pytest.mark.parametrize("width", range(1, 40))
def test_the_last_columns_of_an_image_are_compressed_with_their_neighbours(width: int) -> None:
    """A strip of fewer than 5 pixels would be decoded without smooth chroma, unlike the whole image."""
    jpeg = Jpeg(kind="jpeg", value=50)
    pixels = picture(4, 1, 24, width)
    expected = whole(pixels, jpeg)
    assert np.array_equal(expected[:, -1:], jpeg.kernel().cut(pixels, Window(0, width - 1, 24, 1)))
    assert np.array_equal(expected[-1:], jpeg.kernel().cut(pixels, Window(23, 0, 1, width)))


def test_the_source_is_little_more_than_the_patch() -> None:
    """Of a camera photo only what the patch needs is touched: here less than 1.3 times its area in the source."""
    for manipulation in PRESETS[CUP]:
        after = manipulation.size((3000, 4000))
        source = manipulation.kernel().source((3000, 4000), Window(777, 999, 224, 224))
        area = 224 * 224 * 3000 * 4000 / (after[0] * after[1])
        assert area <= source.height * source.width <= 1.3 * area, manipulation.name


def test_real_photos_are_resized_and_compressed_as_a_whole_would_be(shared_data: Any) -> None:
    """Millions of pixels in both directions: places far from the start are as exact."""
    file = min((shared_data / "camera").glob("*.jpg"), key=lambda path: path.stat().st_size)
    pixels = np.asarray(Image.open(file).convert("RGB"))
    rng = np.random.default_rng(1)
    some: list[Manipulation] = [Rescale(kind="resize", value=value) for value in (0.5, 0.7331, 1.5)]
    for manipulation in (Jpeg(kind="jpeg", value=70), *some):
        expected = whole(pixels, manipulation)
        for _ in range(3):
            y, x = (int(rng.integers(0, side - 223)) for side in expected.shape[:2])
            found = manipulation.kernel().cut(pixels, Window(y, x, 224, 224))
            assert np.array_equal(expected[y : y + 224, x : x + 224], found), manipulation.name


def test_the_weights_of_the_unchanged_size_change_nothing() -> None:
    """The kernel passes through its samples."""
    pixels = texture(5, 40, 50, 3)
    assert np.array_equal(pixels, bicubic.resize_part(pixels, (40, 50), 0, 0, 40, 50))


def test_gamma_leaves_black_and_white_alone() -> None:
    """And brightens below 1, darkens above."""
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    for value, middle in ((0.8, 147), (1.2, 112)):
        found = Gamma(kind="gamma", value=value).kernel().cut(ramp, Window(0, 0, 1, 256))
        assert (0, middle, 255) == (found[0, 0, 0], found[0, 128, 0], found[0, 255, 0])


# the spec


def parse(**fields: Any) -> Manipulations:
    """Return manipulations as a spec would give them."""
    return Manipulations.model_validate(fields)


def test_the_preset_is_the_cups_eight() -> None:
    """In the order of their data sets, the unchanged image first."""
    assert CUP_NAMES == parse(preset=CUP).names
    assert {1.0} == {manipulation.weight for manipulation in PRESETS[CUP]}


def test_choices_follow_the_preset_and_every_value_has_a_name_of_its_own() -> None:
    """Names serve as names of data sets later."""
    choices = [
        {"kind": "gamma", "value": 0.85},
        {"kind": "gamma", "value": 8.5},
        {"kind": "resize", "value": 12},
        {"kind": "jpeg", "value": 5},
        {"kind": "rot90"},
        {"kind": "rot90", "turns": 2},
    ]
    found = parse(preset=CUP, choices=choices).names
    assert ("gamma0_85", "gamma85", "bicubic12_0", "qf5", "rot90", "rot180") == found[9:]


@given(st.lists(st.floats(0.05, 20.0), min_size=2, max_size=2, unique=True))
def test_two_factors_never_share_a_name(values: list[float]) -> None:
    """However close they are."""
    assert 3 == len(set(parse(choices=[{"kind": "resize", "value": value} for value in values]).names))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "no manipulation at all: give preset = 'ieee-sp-cup-2018'"),
        ({"preset": "sp-cup"}, "ieee-sp-cup-2018"),
        ({"preset": CUP, "choices": [{"kind": "jpeg", "value": 90}]}, "the same manipulation twice: qf90"),
        ({"choices": [{"kind": "gamma", "value": 0.0}]}, "greater than 0"),
        ({"choices": [{"kind": "gamma", "value": float("inf")}]}, "finite|less than"),
        ({"choices": [{"kind": "jpeg", "value": 101}]}, "less than or equal to 100"),
        ({"choices": [{"kind": "resize", "value": 0.01}]}, "greater than or equal to 0.05"),
        ({"choices": [{"kind": "rot90", "turns": 4}]}, "less than or equal to 3"),
        ({"choices": [{"kind": "blur", "value": 4}]}, "'gamma', 'jpeg', 'resize', 'rot90'"),
        ({"choices": [{"kind": "rot90", "weight": 0}]}, "greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], words: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValidationError, match=words):
        parse(**fields)


@given(st.floats(0.05, 20.0), st.integers(1, 2000))
def test_the_least_side_is_the_least_that_yields_a_patch(value: float, patch: int) -> None:
    """One pixel less is too little."""
    rescale = Rescale(kind="resize", value=value)
    least, _ = rescale.least((patch, 1))
    assert rescale.size((least, 1))[0] >= patch
    assert least == 1 or rescale.size((least - 1, 1))[0] < patch


def test_sizes_round_half_up() -> None:
    """As the spec says; never to nothing."""
    sizes = [Rescale(kind="resize", value=value).size((5, 1)) for value in (0.5, 0.8, 1.5, 0.05)]
    assert [(3, 1), (4, 1), (8, 2), (1, 1)] == sizes


def test_each_is_chosen_as_often_as_its_weight_says() -> None:
    """The uniforms of [0, 1) are divided in order, the unchanged image first."""
    mix = parse(unchanged_weight=5, choices=[{"kind": "rot90", "weight": 3}, {"kind": "jpeg", "value": 7, "weight": 2}])
    found = [mix.choose(place / 100) for place in range(100)]
    assert [0] * 50 + [1] * 30 + [2] * 20 == found
    never = parse(preset=CUP, unchanged_weight=0)
    assert set(range(1, 9)) == {never.choose(draw) for draw in np.random.default_rng(1).random(1000)}
    assert [1, 8] == [never.choose(0.0), never.choose(float(np.nextafter(1.0, 0.0)))]


def test_a_manipulation_survives_its_way_through_a_message() -> None:
    """The welcome carries the spec as JSON."""
    mix = parse(preset=CUP, choices=[{"kind": "rot90", "turns": 3, "weight": 2.5}])
    assert mix == TypeAdapter(Manipulations).validate_json(mix.model_dump_json())
