"""Whole images resized or enlarged, compared with Pillow, OpenCV and numpy."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from support.images import Pixels, picture

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.transform import Filter, Patch, Resize
from penstock.worker.imaging import resize

PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
OPENCV = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
#: From (height, width) to (height, width): both sides smaller, larger, mixed, the same, and extreme.
SIZES = [
    ((90, 120), (30, 50)),
    ((30, 50), (90, 120)),
    ((120, 30), (40, 90)),
    ((31, 57), (31, 57)),
    ((1, 300), (20, 20)),
    ((7, 5), (1, 1)),
]


def resized(pixels: Pixels, settings: Resize) -> Pixels:
    """Resize into an array that no byte of which is right before."""
    out = np.full((settings.height, settings.width, pixels.shape[2]), 0xA5, np.uint8)
    resize.resize(pixels, settings, out)
    return out


def channels(count: int, height: int, width: int) -> Pixels:
    """Return a picture of 3 channels, or of 1."""
    return np.ascontiguousarray(picture(7, 1, height, width)[..., :count])


# resizing


@pytest.mark.parametrize(("start", "end"), SIZES)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", PILLOW)
def test_pillows_filters_are_pillows(start: tuple[int, int], end: tuple[int, int], count: int, name: Filter) -> None:
    """Stretching is Image.resize; covering is ImageOps.fit, centred."""
    pixels = channels(count, *start)
    image = Image.fromarray(pixels.squeeze(2) if count == 1 else pixels)
    size, resample = (end[1], end[0]), PILLOW[name]
    stretched = resized(pixels, Resize(height=end[0], width=end[1], filter=name))
    assert np.array_equal(np.asarray(image.resize(size, resample)).reshape(stretched.shape), stretched)
    covered = resized(pixels, Resize(height=end[0], width=end[1], filter=name, fit="cover"))
    assert np.array_equal(np.asarray(ImageOps.fit(image, size, resample)).reshape(covered.shape), covered)


@pytest.mark.parametrize(("start", "end"), SIZES)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", OPENCV)
def test_opencvs_filters_are_opencvs_without_ipp(
    start: tuple[int, int], end: tuple[int, int], count: int, name: Filter
) -> None:
    """Stretching is cv2.resize; covering is the same of the nearest whole pixels of the box."""
    pixels = channels(count, *start)
    cv2.ipp.setUseIPP(False)
    size = (end[1], end[0])
    expected = cv2.resize(pixels, size, interpolation=OPENCV[name])
    stretched = resized(pixels, Resize(height=end[0], width=end[1], filter=name))
    assert np.array_equal(expected.reshape(stretched.shape), stretched)
    left, top, right, bottom = (int(edge + 0.5) for edge in resize.cover_box(*start, *end))
    cut = np.ascontiguousarray(pixels[top:bottom, left:right])
    covered = resized(pixels, Resize(height=end[0], width=end[1], filter=name, fit="cover"))
    assert np.array_equal(cv2.resize(cut, size, interpolation=OPENCV[name]).reshape(covered.shape), covered)


@given(
    height=st.integers(1, 70_000),
    width=st.integers(1, 70_000),
    to_height=st.integers(1, 9000),
    to_width=st.integers(1, 9000),
)
def test_the_covered_box_is_the_largest_centred_one(height: int, width: int, to_height: int, to_width: int) -> None:
    """It lies inside, touches two opposite edges, has the wanted aspect ratio, and cuts both sides alike."""
    left, top, right, bottom = resize.cover_box(height, width, to_height, to_width)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert (0.0, float(width)) == (left, right) or (0.0, float(height)) == (top, bottom)
    assert left == pytest.approx(width - right, abs=1e-6 * width)
    assert top == pytest.approx(height - bottom, abs=1e-6 * height)
    assert (right - left) * to_height == pytest.approx((bottom - top) * to_width, rel=1e-6)


@pytest.mark.parametrize("name", [*PILLOW, *OPENCV])
@pytest.mark.parametrize("start", [(1, 65_000), (65_000, 1)])
def test_extreme_aspect_ratios_cost_no_memory(name: Filter, start: tuple[int, int]) -> None:
    """Covering reads a box of the image: there is never an intermediate image with a side of millions of pixels."""
    pixels = np.full((*start, 3), 77, np.uint8)
    for fit in ("cover", "stretch"):
        settings = Resize.model_validate({"height": 224, "width": 224, "filter": name, "fit": fit})
        assert (resized(pixels, settings) == 77).all()


def test_a_resize_that_fails_is_the_items_failure() -> None:
    """What a library cannot do with an image is named with both sizes."""
    with pytest.raises(ItemError, match=r"cannot resize 5 × 0 pixels \(height × width\) to 4 × 8"):
        resized(np.zeros((5, 0, 3), np.uint8), Resize(height=4, width=8, filter="area"))


def test_resizing_writes_into_a_row_of_a_larger_array() -> None:
    """Neither the rows beside it nor the input change."""
    pixels = channels(3, 60, 80)
    pixels.setflags(write=False)
    for name in (*PILLOW, *OPENCV):
        rows = np.full((3, 20, 30, 3), 0xA5, np.uint8)
        settings = Resize.model_validate({"height": 20, "width": 30, "filter": name})
        resize.resize(pixels, settings, rows[1])
        assert np.array_equal(resized(pixels, settings), rows[1])
        assert (rows[[0, 2]] == 0xA5).all()


PROGRAM = """
import hashlib, sys, numpy as np
sys.path.insert(0, "tests")
from support.images import picture
from penstock.protocol.spec.transform import Resize
from penstock.worker.imaging import resize
for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "area", "linear", "cubic"):
    digest = hashlib.sha256()
    for start in ((90, 120), (375, 500), (57, 31)):
        for height, width in ((150, 150), (45, 60), (300, 411)):
            out = np.empty((height, width, 3), np.uint8)
            resize.resize(picture(1, 1, *start), Resize(height=height, width=width, filter=name), out)
            digest.update(out)
    print(name, digest.hexdigest())
"""


def test_bytes_do_not_depend_on_the_hosts_instruction_set() -> None:
    """With OpenCV's and IPP's code for newer CPUs switched off, every filter still gives the same bytes."""

    def digests(**setting: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=Path(__file__).parents[4],
            env={**os.environ, **setting},
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    usual = digests()
    assert 9 == len(usual.splitlines())
    assert usual == digests(OPENCV_CPU_DISABLE="FP16,AVX,AVX2,AVX512-SKX,SSE4.1,SSE4.2", OPENCV_IPP="sse42")


def test_ipp_stays_off_on_every_thread() -> None:
    """OpenCV keeps that switch per thread, so it is set where resizing happens."""
    pixels, settings = channels(3, 375, 500), Resize(height=150, width=150, filter="cubic")
    found: list[Pixels] = []
    thread = threading.Thread(target=lambda: found.append(resized(pixels, settings)))
    thread.start()
    thread.join()
    assert np.array_equal(resized(pixels, settings), found[0])


# enlarging


def patch_of(height: int, width: int, **fields: Any) -> Patch:
    """Return a patch with some fields."""
    return Patch.model_validate({"height": height, "width": width, **fields})


def test_an_image_that_is_large_enough_stays_as_it_is() -> None:
    """Not even copied, whatever the rule."""
    pixels = channels(3, 100, 80)
    for rule in ("quarantine", "pad", "resize"):
        assert resize.enlarge(pixels, (100, 80), patch_of(10, 10, too_small=rule), 10**6) is pixels


def test_an_image_smaller_than_the_patch_names_both_sizes() -> None:
    """In the spec's order, which is named; what manipulations need is named too, and what to do."""
    pixels = channels(3, 100, 80)
    for least in ((101, 80), (100, 81)):
        words = f"has 100 × 80 pixels (height × width), less than the patch of {least[0]} × {least[1]}: cut smaller"
        with pytest.raises(ItemError, match=re.escape(words)):
            resize.enlarge(pixels, least, patch_of(*least), 10**6)
    words = (
        "less than the 200 × 120 that the manipulations need for the patch of 100 × 60: cut smaller patches, or set "
    )
    with pytest.raises(ItemError, match=re.escape(words + 'patch.too_small to "pad" or "resize"')):
        resize.enlarge(pixels, (200, 120), patch_of(100, 60), 10**6)


MODES = {"reflect": "symmetric", "nearest": "edge", "constant": "constant", "wrap": "wrap"}


@pytest.mark.parametrize("mode", MODES)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
def test_padding_is_numpys_and_even_on_opposite_sides(
    mode: str, height: int, width: int, least_y: int, least_x: int, count: int
) -> None:
    """Even where the image must be repeated many times; the smaller half is above and to the left."""
    pixels = channels(count, height, width)
    patch = patch_of(1, 1, too_small="pad", pad_mode=mode, pad_value=77)
    down, right = max(0, least_y - height), max(0, least_x - width)
    around = ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))
    options: Any = {"mode": MODES[mode]} | ({"constant_values": 77} if mode == "constant" else {})
    expected = np.pad(pixels, around, **options)
    assert np.array_equal(expected, resize.enlarge(pixels, (least_y, least_x), patch, 10**6))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_enlarging_keeps_the_aspect_ratio_and_makes_no_more_than_needed(
    height: int, width: int, least_y: int, least_x: int
) -> None:
    """One side is exactly what is needed, none less, and the other is what the ratio says within half a pixel."""
    made = resize.enlarge(channels(1, height, width), (least_y, least_x), patch_of(1, 1, too_small="resize"), 10**8)
    scale = max(1.0, least_y / height, least_x / width)
    assert made.shape[0] >= least_y
    assert made.shape[1] >= least_x
    assert (made.shape[0], made.shape[1]) == pytest.approx((height * scale, width * scale), abs=0.5 + 1e-6)
    assert scale == 1.0 or made.shape[0] == least_y or made.shape[1] == least_x


def test_enlarging_is_pillows_bicubic() -> None:
    """The same as resizing it by hand."""
    pixels = channels(3, 40, 60)
    expected = np.asarray(Image.fromarray(pixels).resize((120, 80), Image.Resampling.BICUBIC))
    assert np.array_equal(expected, resize.enlarge(pixels, (80, 100), patch_of(1, 1, too_small="resize"), 10**6))


@pytest.mark.parametrize("rule", ["pad", "resize"])
def test_enlarging_beyond_all_measure_is_the_items_failure(rule: str) -> None:
    """A line of pixels would become gigabytes; an image without pixels cannot be enlarged."""
    patch = patch_of(9000, 9000, too_small=rule)
    with pytest.raises(
        ItemError, match=r"enlarging 1 × 30000 pixels \(height × width\) to .* would pass the limit of 200 megapixels"
    ):
        resize.enlarge(channels(1, 1, 30_000), (9000, 9000), patch, 200_000_000)
    with pytest.raises(ItemError, match=r"has 0 × 5 pixels \(height × width\): none at all"):
        resize.enlarge(np.zeros((0, 5, 3), np.uint8), (8, 8), patch, 200_000_000)
