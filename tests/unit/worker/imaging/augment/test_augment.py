"""Augmentation: the same as Keras's, given the same parameters, drawn from the same distributions, on whole tasks."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from pydantic import ValidationError
from support.images import picture
from support.keras.images import generator, transformed

from penstock.protocol.errors import SpecError
from penstock.protocol.philox import uniforms
from penstock.protocol.spec.augment import Augment, Fill
from penstock.protocol.spec.transform import Transform
from penstock.worker.imaging.augment import intensity, warp
from penstock.worker.imaging.augment.apply import (
    Augmenter,
    _one,
    apply_parameters,
    change_randomly,
    columns,
    random_parameters,
    sampling,
)
from penstock.worker.imaging.augment.parameters import draw, geometry

Pixels = npt.NDArray[np.uint8]
FILLS: tuple[Fill, ...] = ("nearest", "constant", "reflect", "wrap")
EVERYTHING = Augment(
    rotation_range=40.0,
    width_shift_range=0.2,
    height_shift_range=3,
    brightness_range=(0.5, 1.5),
    shear_range=20.0,
    zoom_range=(0.7, 1.4),
    channel_shift_range=60.0,
    horizontal_flip=True,
    vertical_flip=True,
)

angles = st.floats(-180, 180)
shifts = st.floats(-12, 12) | st.integers(-9, 9).map(float)
moves = st.fixed_dictionaries(
    {},
    optional={
        "theta": angles,
        "tx": shifts,
        "ty": shifts,
        "shear": st.floats(-60, 60),
        "zx": st.floats(0.3, 3),
        "zy": st.floats(0.3, 3),
        "flip_horizontal": st.booleans(),
        "flip_vertical": st.booleans(),
    },
)
sizes = st.tuples(st.integers(12, 40), st.integers(12, 40), st.sampled_from([1, 3, 4]))


def noise(seed: int, *shape: int) -> Pixels:
    """Return uint8 noise: the image in which a misplaced sample shows most."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def inside(image: Pixels, parameters: dict[str, Any], fill: Fill) -> npt.NDArray[np.bool_]:
    """Return which pixels are not at the image's very edge, where rounding decides between two far apart values."""
    marked = np.pad(np.full((image.shape[0] - 2, image.shape[1] - 2, 1), 255, np.uint8), ((1, 1), (1, 1), (0, 0)))
    return (
        transformed(marked, parameters, fill_mode=fill)[..., 0] > 254
        if fill in ("constant", "wrap")
        else np.ones((1, 1), np.bool_)
    )


# against Keras's own apply_transform


@settings(max_examples=120)
@given(seed=st.integers(0, 99), size=sizes, parameters=moves, fill=st.sampled_from(FILLS))
def test_float_images_are_warped_as_by_keras(
    seed: int, size: tuple[int, int, int], parameters: dict[str, Any], fill: Fill
) -> None:
    """Within float32's rounding of coordinates: 0.02 levels on noise of 0 to 255."""
    image = noise(seed, *size)
    expected = transformed(image, parameters, fill_mode=fill, cval=50.0)
    spec = Augment(fill_mode=fill, cval=50.0, axes="keras")
    actual = apply_parameters(image.astype(np.float32), parameters, spec)
    assert np.float32 == actual.dtype
    assert np.abs(actual - expected)[np.broadcast_to(inside(image, parameters, fill), size[:2])].max(initial=0) < 0.02


@settings(max_examples=120)
@given(seed=st.integers(0, 99), size=sizes, parameters=moves, fill=st.sampled_from(FILLS))
def test_uint8_images_are_warped_as_by_keras(
    seed: int, size: tuple[int, int, int], parameters: dict[str, Any], fill: Fill
) -> None:
    """Half a level from rounding, and 1/512 pixel in both directions: at most 1.5 levels, on noise."""
    image = noise(seed, *size)
    expected = transformed(image, parameters, fill_mode=fill, cval=50.0)
    actual = apply_parameters(image, parameters, Augment(fill_mode=fill, cval=50.0, axes="keras"))
    assert np.uint8 == actual.dtype
    error = np.abs(actual - expected)[np.broadcast_to(inside(image, parameters, fill), size[:2])]
    assert error.max(initial=0) < 1.51


def test_photos_are_warped_within_rounding(shared_data: Path) -> None:
    """On real pictures, whose neighbours differ little, the rounding of coordinates is lost in that of levels."""
    for file in sorted((shared_data / "cats-dogs").rglob("*.jpg"))[:6]:
        image = np.asarray(Image.open(file).convert("RGB"))
        parameters = {"theta": 17.3, "tx": 5.4, "ty": -8.1, "zx": 0.9, "zy": 1.2, "shear": 8.0}
        error = np.abs(apply_parameters(image, parameters, Augment(axes="keras")) - transformed(image, parameters))
        assert error.max() < 1.0
        assert np.mean(error > 0.55) < 0.005


@settings(max_examples=60)
@given(
    seed=st.integers(0, 99),
    size=sizes,
    parameters=moves,
    fill=st.sampled_from(FILLS),
    order=st.sampled_from([0, 2, 3, 4, 5]),
)
def test_other_orders_are_splines_as_in_scipy(
    seed: int, size: tuple[int, int, int], parameters: dict[str, Any], fill: Fill, order: int
) -> None:
    """All pixels, but for the nearest one (order 0) where a place lies half-way between two."""
    image = noise(seed, *size)
    expected = transformed(image, parameters, fill_mode=fill, interpolation_order=order)
    spec = Augment(fill_mode=fill, interpolation_order=order, axes="keras")
    part = np.broadcast_to(inside(image, parameters, fill), size[:2])
    if order == 0:
        linear = sampling(Augment(axes="keras"), size[0], size[1], exact=False)
        x, y = linear.coordinates(linear.places(*geometry(_one(parameters), spec, size[0], size[1])))[0]
        part = part & (np.abs(x % 1 - 0.5) > 1e-3) & (np.abs(y % 1 - 0.5) > 1e-3)
    plain = apply_parameters(image.astype(np.float32), parameters, spec)
    whole = apply_parameters(image, parameters, spec)
    for actual, wanted, tolerance in ((plain, expected, 0.05), (whole, np.clip(expected, 0, 255), 0.56)):
        assert np.abs(actual - wanted)[part].max(initial=0) <= tolerance


@settings(max_examples=60)
@given(
    seed=st.integers(0, 99),
    size=sizes,
    parameters=moves,
    shift=st.none() | st.floats(-300, 300),
    brightness=st.none() | st.floats(0, 3),
)
@example(seed=1, size=(12, 12, 3), parameters={}, shift=None, brightness=1.7)
@example(seed=1, size=(12, 12, 3), parameters={}, shift=0.5, brightness=None)
@example(seed=1, size=(12, 12, 3), parameters={}, shift=-255.0, brightness=0.0)
def test_levels_change_as_by_keras(
    seed: int, size: tuple[int, int, int], parameters: dict[str, Any], shift: float | None, brightness: float | None
) -> None:
    """Channel shift and brightness after the warp: each rounds once more, and brightness multiplies the errors."""
    image = noise(seed, *size) // 2 + 40
    parameters = parameters | {"channel_shift_intensity": shift, "brightness": brightness}
    expected = transformed(image, parameters)
    actual = apply_parameters(image, parameters, Augment(axes="keras"))
    factor = 1.0 if brightness is None else brightness
    factor = max(factor, 1.0) if size[2] == 4 else factor  # alpha is not multiplied
    tolerance = 1.51 + 0.5 * (shift is not None)
    assert np.abs(actual - expected).max() <= tolerance * factor + (brightness is not None) * (1 + factor)
    real = apply_parameters(image.astype(np.float32), parameters, Augment(axes="keras"))
    assert np.quantile(np.abs(real - expected), 0.97) <= 0.02 + (brightness is not None) * (1 + factor)


def test_brightness_is_pillows_to_the_bit() -> None:
    """All 256 levels, at factors on both sides of one."""
    ramp = np.arange(256, dtype=np.uint8)
    factors = [0.0, 0.1, 1 / 3, 0.5, 0.999, 1.0, 1.001, 1.5, 2.0, 7.7, -0.5]
    for factor, table in zip(factors, intensity.brightness_tables(np.array(factors)), strict=True):
        expected = np.asarray(ImageEnhance.Brightness(Image.fromarray(ramp[np.newaxis])).enhance(factor))[0]
        assert np.array_equal(expected, table), factor


@given(seed=st.integers(0, 999), shift=st.floats(-400, 400), low=st.integers(0, 255), high=st.integers(0, 255))
def test_a_channel_shift_stays_within_the_samples_own_range(seed: int, shift: float, low: int, high: int) -> None:
    """Exactly clip(x + round(s), low, high), for any range of levels and any shift, in uint8 arithmetic."""
    low, high = sorted((low, high))
    sample = np.random.default_rng(seed).integers(low, high, (2, 60), np.uint8, endpoint=True)
    expected = np.stack(
        [np.clip(row + np.rint(s), row.min(), row.max()) for row, s in zip(sample, (shift, 0), strict=True)]
    )
    intensity.shift_levels(sample, np.array([shift, 0.0]))
    assert np.array_equal(expected, sample)


@pytest.mark.parametrize("scale", [1.0, 1 / 255, 3.0])
def test_float_images_of_any_range_brighten_as_by_keras(scale: float) -> None:
    """Images that leave 0 to 255 are stretched to it first, those of 0 to 1 lose all but whole levels, as in Keras."""
    image = (noise(3, 20, 20, 3) * scale - (20 if scale > 1 else 0)).astype(np.float32)
    for parameters in ({"brightness": 0.7}, {"brightness": 1.3}):
        expected = generator().apply_transform(image.copy(), parameters)
        assert np.abs(expected - apply_parameters(image, parameters, Augment())).max() < 1e-3


# axes


def test_by_default_height_is_height() -> None:
    """Height shifts move up and down, and the centre is the image's; Keras 3 exchanges the two, and so does `keras`."""
    image = np.zeros((20, 30, 1), np.uint8)
    image[4, 20] = 200
    for spec, place in ((Augment(), (2, 20)), (Augment(axes="keras"), (4, 18))):
        moved = apply_parameters(image, {"tx": 2.0}, spec)
        assert place == divmod(int(moved.argmax()), 30)
    turned = apply_parameters(image, {"theta": 180.0}, Augment())
    assert np.array_equal(image[::-1, ::-1], turned)


# exactness


def test_what_is_not_moved_is_not_touched() -> None:
    """Parameters that change nothing, drawn or given, return the very pixels."""
    image = noise(1, 33, 47, 3)
    still = {"theta": 0.0, "tx": 0.0, "ty": 0.0, "shear": 0.0, "zx": 1.0, "zy": 1.0, "channel_shift_intensity": 0.0}
    for parameters in ({}, still, still | {"brightness": 1.0}):
        for pixels in (image, image.astype(np.float32)):
            result = apply_parameters(pixels, parameters, Augment())
            assert np.array_equal(pixels, result)
            assert not np.shares_memory(pixels, result)
    augmenter = Augmenter(Augment(rotation_range=1e-9, zoom_range=1e-12), (33, 47, 3))
    augmenter.begin(np.full((1, augmenter.columns), 0.3))
    out = np.empty_like(image)
    augmenter.write(image, 0, out)
    assert np.array_equal(image, out)


@pytest.mark.parametrize("quarter", [-1, 1, 2, 3, 4])
def test_quarter_turns_and_flips_of_a_square_are_exact(quarter: int) -> None:
    """Sines of right angles are exactly 0 and 1, and flips read the same places from the other side."""
    image = noise(2, 21, 21, 3)
    for flips in ({}, {"flip_horizontal": True}, {"flip_vertical": True, "flip_horizontal": True}):
        result = apply_parameters(image, {"theta": 90.0 * quarter} | flips, Augment())
        expected = np.rot90(image, quarter % 4)
        expected = expected[:, ::-1] if flips.get("flip_horizontal") else expected
        expected = expected[::-1] if flips.get("flip_vertical") else expected
        assert np.array_equal(expected, result)


def test_sines_are_those_of_the_mathematics() -> None:
    """Within two units in the last place, at any angle."""
    angle = np.concatenate([np.linspace(-720, 720, 9999), [0.0, 90.0, -90.0, 1e-9]])
    sine, cosine = warp._sine_cosine(angle)
    assert np.abs(sine - np.sin(np.deg2rad(angle))).max() < 3e-15
    assert np.abs(cosine - np.cos(np.deg2rad(angle))).max() < 3e-15
    assert (0.0, 1.0, 0.0) == (cosine[-3], sine[-3], cosine[-2])


_DIGEST = """
import hashlib, numpy as np, sys
from penstock.protocol.spec.augment import Augment
from penstock.protocol.philox import uniforms
from penstock.protocol.spec.transform import Transform
from penstock.worker.imaging.augment.apply import Augmenter
digest = hashlib.sha256()
for fill in ("nearest", "constant", "reflect", "wrap"):
    for order in (0, 1, 3):
        for channels in (1, 3):
            settings = Augment(rotation_range=90.0, zoom_range=0.5, shear_range=20.0, width_shift_range=0.3,
                               channel_shift_range=40.0, fill_mode=fill, interpolation_order=order)
            images = np.random.default_rng(5).integers(0, 256, (12, 50, 61, channels), np.uint8)
            augmenter = Augmenter(settings, images.shape[1:])
            augmenter.begin(uniforms(1, 2, np.arange(12), 1, augmenter.columns)[:, 0])
            out = np.empty_like(images)
            augmenter.write_all(images, out)
            augmenter.finish(np.arange(12), out)
            digest.update(out.tobytes())
print(digest.hexdigest())
"""


def test_every_cpu_makes_the_same_bytes() -> None:
    """With and without AVX-512, AVX2 and fused multiply-add, in OpenCV and in numpy, as far as this CPU has them."""
    digests = set()
    for opencv, numpy, blas in (
        ("", "", {}),
        ("AVX512-SKX", "AVX512_SKX", {"OPENBLAS_CORETYPE": "Haswell"}),
        ("AVX512-SKX,AVX2,FMA3", "AVX512_SKX,AVX2,FMA3", {"OPENBLAS_CORETYPE": "Sandybridge"}),
        ("AVX512-SKX,AVX2,FMA3,AVX,FP16,SSE4.2,SSE4.1,SSSE3", "AVX512_SKX,AVX2", {"OPENBLAS_CORETYPE": "Prescott"}),
    ):
        features = {"OPENCV_CPU_DISABLE": opencv, "NPY_DISABLE_CPU_FEATURES": numpy} | blas
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _DIGEST],
            env=os.environ | features,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.split()[-1])
    assert 1 == len(digests)


# what is drawn

PARAMETERS: list[dict[str, Any]] = [
    {"rotation_range": 30},
    {"rotation_range": -30.0},
    {"width_shift_range": 0.3},
    {"width_shift_range": 4},
    {"width_shift_range": 1},
    {"width_shift_range": 1.0},
    {"width_shift_range": 2.5},
    {"height_shift_range": [0.1, 0.25]},
    {"height_shift_range": [1, 2, 7]},
    {"height_shift_range": [-0.5, 3.0]},
    {"shear_range": 12.0},
    {"zoom_range": 0.3},
    {"zoom_range": [0.5, 3.0]},
    {"zoom_range": [1.0, 1.0]},
    {"horizontal_flip": True},
    {"vertical_flip": True},
    {"channel_shift_range": 40.0},
    {"brightness_range": [0.3, 1.9]},
]


@pytest.mark.parametrize("arguments", PARAMETERS, ids=str)
def test_parameters_have_kerass_distribution(arguments: dict[str, Any]) -> None:
    """Kolmogorov and Smirnov's distance of 2,000 draws from Keras's, for every key; it exceeds 0.06 once in 10^3."""
    keras = generator(**arguments)
    np.random.seed(1)  # noqa: NPY002 - Keras draws from numpy's global generator
    wanted = [keras.get_random_transform((24, 50, 3)) for _ in range(2_000)]
    spec = Augment(**arguments)
    drawn = uniforms(9, 0, np.arange(2_000), 1, columns(spec))[:, 0]
    found = [random_parameters(spec, (24, 50, 3), row) for row in drawn]
    assert wanted[0].keys() == found[0].keys()
    for key in wanted[0]:
        if wanted[0][key] is None:
            assert all(entry[key] is None for entry in found)
            continue
        expected, actual = (np.sort([float(entry[key]) for entry in entries]) for entries in (wanted, found))
        grid = np.union1d(expected, actual)
        distance = np.searchsorted(expected, grid, "right") - np.searchsorted(actual, grid, "right")
        assert np.abs(distance).max() / 2_000 < 0.06, key
        assert np.abs(expected[[0, -1]] - actual[[0, -1]]).max() <= 0.02 * (expected[-1] - expected[0]) + 1e-12, key


def test_columns_are_drawn_in_the_documented_order() -> None:
    """The order is part of every stream's definition; only what the spec asks for takes a column."""
    assert 11 == columns(EVERYTHING)
    row = np.linspace(0.02, 0.98, 11)
    found = random_parameters(EVERYTHING, (100, 200), row)
    names = ("theta", "tx", "sign", "ty", "shear", "zx", "zy", "flip_horizontal", "flip_vertical")
    at = dict(zip((*names, "channel_shift_intensity", "brightness"), row, strict=True))
    assert -40 + 80 * at["theta"] == found["theta"]
    assert -int(at["tx"] * 3) == found["tx"]
    assert (-0.2 + 0.4 * at["ty"]) * 200 == pytest.approx(found["ty"])
    assert -20 + 40 * at["shear"] == found["shear"]
    assert [0.7 + (1.4 - 0.7) * at[name] for name in ("zx", "zy")] == [found["zx"], found["zy"]]
    assert (False, False) == (found["flip_horizontal"], found["flip_vertical"])
    assert -60 + 120 * at["channel_shift_intensity"] == found["channel_shift_intensity"]
    assert 0.5 + at["brightness"] == found["brightness"]
    assert 0 == columns(Augment())


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
    """It would be cut to 0 or 255 in silence; where it cannot be seen, it is nobody's business."""
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


# whole tasks


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 17, 3), (1, 1, 3), (24, 40, 1), (70, 80, 3), (300, 200, 3)])
def test_a_task_is_changed_as_each_sample_alone(shape: tuple[int, int, int]) -> None:
    """Computed for many at once, in bands or whole, from a stack or one by one: what `apply_parameters` makes."""
    images = noise(4, 40 if shape[0] < 100 else 3, *shape)
    drawn = uniforms(5, 1, np.arange(len(images)), 1, columns(EVERYTHING))[:, 0]
    augmenter = Augmenter(EVERYTHING, shape)
    stacked, single = np.empty_like(images), np.empty_like(images)
    augmenter.begin(drawn)
    augmenter.write_all(images, stacked)
    augmenter.finish(np.arange(len(images)), stacked)
    augmenter.begin(drawn)
    for sample in reversed(range(len(images))):
        augmenter.write(images[sample], sample, single[sample])
    augmenter.finish(np.arange(len(images)), single)
    assert np.array_equal(stacked, single)
    for image, row, result in zip(images, drawn, stacked, strict=True):
        alone = apply_parameters(image, random_parameters(EVERYTHING, shape, row), EVERYTHING)
        assert np.array_equal(alone, result)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_many_images_are_changed_as_each_alone(dtype: Any) -> None:
    """In one call for all of them, uint8 as in a worker, anything else at full precision."""
    images = noise(4, 40, 20, 24, 3).astype(dtype)
    for spec in (EVERYTHING, Augment(horizontal_flip=True, vertical_flip=True, channel_shift_range=9.0)):
        drawn = uniforms(5, 1, np.arange(40), 1, columns(spec))[:, 0]
        results = change_randomly(images, spec, drawn)
        assert images.dtype == results.dtype
        for image, row, result in zip(images, drawn, results, strict=True):
            alone = apply_parameters(image, random_parameters(spec, image.shape, row), spec)
            assert np.array_equal(alone, result)


def test_samples_that_failed_leave_the_others_parameters_alone() -> None:
    """Row k of the output is the sample of the task that it is said to be."""
    spec = Augment(brightness_range=(0.1, 1.0), channel_shift_range=50.0, horizontal_flip=True)
    images = noise(6, 10, 8, 8, 3)
    drawn = uniforms(5, 1, np.arange(10), 1, columns(spec))[:, 0]
    augmenter, kept = Augmenter(spec, (8, 8, 3)), np.array([1, 4, 8])
    augmenter.begin(drawn)
    out = np.empty_like(images[:3])
    for place, sample in enumerate(kept.tolist()):
        augmenter.write(images[sample], sample, out[place])
    augmenter.finish(kept, out)
    for place, sample in enumerate(kept.tolist()):
        expected = apply_parameters(images[sample], random_parameters(spec, (8, 8), drawn[sample]), spec)
        assert np.array_equal(expected, out[place])


@pytest.mark.parametrize("count", [1, 3])
def test_flips_mirror_half_of_the_samples(count: int) -> None:
    """A sample is mirrored if its one draw is below one half; its pixels may be a part of a larger image."""
    spec, view = Augment(horizontal_flip=True), noise(8, 40, 60, count)[3:33, 5:45]
    drawn = uniforms(3, 1, np.arange(200), 1, 1)[:, 0]
    augmenter = Augmenter(spec, (30, 40, count))
    augmenter.begin(drawn)
    for sample in range(200):
        out = np.full((2, 30, 40, count), 0xA5, np.uint8)
        augmenter.write(view, sample, out[1])
        assert np.array_equal(view[:, ::-1] if drawn[sample, 0] < 0.5 else view, out[1])
        assert (out[0] == 0xA5).all()
    assert 80 < (drawn < 0.5).sum() < 120


@pytest.mark.parametrize("side", [20, 80, 250])
@pytest.mark.parametrize("spec", [EVERYTHING, Augment(horizontal_flip=True)])
def test_turned_and_mirrored_views_are_samples_too(side: int, spec: Augment) -> None:
    """A manipulation may hand on a view with negative strides."""
    image = noise(8, side, side, 3)
    augmenter = Augmenter(spec, image.shape)
    augmenter.begin(uniforms(1, 0, np.arange(2), 1, augmenter.columns)[:, 0])
    for view in (np.rot90(image), image[::-1], image[:, ::-1], np.rot90(image, 3)):
        expected, actual = np.empty_like(image), np.empty_like(image)
        augmenter.write(np.ascontiguousarray(view), 1, expected)
        augmenter.write(view, 1, actual)
        assert np.array_equal(expected, actual)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_any_number_of_channels_is_warped_alike(count: int) -> None:
    """OpenCV samples two channels, or more than four, at 1/32 pixel; ours all have the same precision."""
    image = noise(9, 30, 30, 5)
    parameters = {"theta": 33.0, "zx": 1.3, "zy": 1.3}
    parts = [apply_parameters(image[..., k : k + 1], parameters, Augment()) for k in range(count)]
    assert np.array_equal(np.concatenate(parts, axis=2), apply_parameters(image[..., :count], parameters, Augment()))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_absurd_zooms_and_shifts_end_in_pixels(fill: Fill, order: int) -> None:
    """Nothing overflows, warns or reads beyond the image, however far away a coordinate lies."""
    image = noise(10, 16, 20, 3)
    spec = Augment(fill_mode=fill, interpolation_order=order, cval=9.0)
    for far in (
        {"zx": 1e300, "zy": -1e300},
        {"tx": 1e12, "ty": -1e7},
        {"zx": 0.0, "zy": 0.0},
        {"zx": 1e308, "tx": 1e308},
    ):
        for pixels in (image, image.astype(np.float32)):
            assert np.isfinite(apply_parameters(pixels, far, spec)).all()


def test_parameters_that_are_no_numbers_are_refused() -> None:
    """Not a number stays out of pixels."""
    with pytest.raises(SpecError, match="theta = nan"):
        apply_parameters(noise(1, 8, 8, 3), {"theta": float("nan")}, Augment())


def test_samples_too_large_to_warp_are_refused() -> None:
    """OpenCV's places have 16 bits; the error says how large a side may be."""
    with pytest.raises(SpecError, match="at most 16000"):
        Augmenter(Augment(rotation_range=1.0), (16_001, 8, 3))
    resize = {"height": 16_001, "width": 8}
    with pytest.raises(ValidationError, match="8 × 16001 pixels are too large"):
        Transform.model_validate({"resize": resize, "augment": {"shear_range": 1.0}})
    Transform.model_validate({"resize": resize, "augment": {"vertical_flip": True}})
    Augmenter(Augment(horizontal_flip=True), (16_001, 8, 3))


def test_drawing_takes_no_more_than_it_is_given() -> None:
    """A row has exactly as many columns as the settings take."""
    assert 5 == len(draw(EVERYTHING, np.full((5, 11), 0.5), 10, 10).theta)
    with pytest.raises(StopIteration):
        draw(EVERYTHING, np.full((5, 10), 0.5), 10, 10)


def test_small_images_need_no_neighbours() -> None:
    """One pixel, one row, one column: every order and fill mode."""
    for shape in ((1, 1, 3), (1, 9, 1), (9, 1, 3)):
        for fill in FILLS:
            for order in (0, 1, 2, 3, 4, 5):
                spec = Augment(fill_mode=fill, interpolation_order=order)
                assert shape == apply_parameters(noise(1, *shape), {"theta": 20.0, "ty": 0.3}, spec).shape


def test_a_picture_looks_turned() -> None:
    """A sanity check by eye's logic: turning there and back again gives nearly the same picture."""
    image = picture(3, 0, 64, 64)
    there = apply_parameters(image.astype(np.float32), {"theta": 25.0}, Augment(interpolation_order=3))
    back = apply_parameters(there, {"theta": -25.0}, Augment(interpolation_order=3))
    middle = (slice(20, 44), slice(20, 44))
    assert np.abs(back[middle] - image[middle]).mean() < 0.2 * np.abs(there[middle] - image[middle]).mean()
