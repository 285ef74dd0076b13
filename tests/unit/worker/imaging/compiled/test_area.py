"""The compiled averages have OpenCV's bytes, on every path that a processor has; all else is left to OpenCV."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.images import Pixels

from penstock.protocol.spec.transform import Resize
from penstock.worker.imaging.compiled import loops
from penstock.worker.imaging.resize import resize

pytestmark = pytest.mark.skipif(loops.AREA is None, reason="the compiled loops were not built here")
#: From (height, width) to (height, width): photos, one side kept, sides of a pixel, factors beside whole ones, whole
#: ones that their floats miss (49), and reductions of thousands of pixels to a few.
SIZES = [
    ((375, 500), (150, 150)),
    ((333, 500), (224, 224)),
    ((97, 120), (97, 50)),
    ((97, 120), (31, 120)),
    ((1, 101), (1, 7)),
    ((101, 1), (7, 1)),
    ((49, 98), (1, 2)),
    ((64, 65), (32, 32)),
    ((1000, 999), (500, 500)),
    ((3, 20_000), (2, 3)),
    ((20_000, 3), (3, 2)),
    ((67, 64_999), (13, 1)),
]
#: What OpenCV does otherwise: both factors whole, one side or both larger, the same size.
OTHERS = [
    ((60, 90), (30, 30)),
    ((60, 90), (20, 45)),
    ((60, 90), (1, 1)),
    ((60, 90), (61, 30)),
    ((60, 90), (20, 91)),
    ((60, 90), (70, 100)),
    ((60, 90), (60, 90)),
]


@pytest.fixture(autouse=True)
def compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare on any processor: that is what these tests are for."""
    monkeypatch.setattr(loops, "COMPARED", True)


def test_where_it_was_not_compared_opencv_averages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with the extension and one without it must make the same bytes, on any processor."""
    pixels, out = np.zeros((60, 90, 3), np.uint8), np.zeros((20, 40, 3), np.uint8)
    assert loops.is_averaged(pixels, out)
    monkeypatch.setattr(loops, "COMPARED", False)
    assert not loops.is_averaged(pixels, out)


@pytest.fixture(params=[1, 2], ids=["plain", "avx2"])
def vectors(request: pytest.FixtureRequest) -> Iterator[int]:
    """Let the loop use no vectors or those of AVX2; skip what this processor lacks."""
    if request.param != loops.AREA.limit_vectors(request.param):
        loops.AREA.limit_vectors(2)
        pytest.skip("this processor has no such vectors")
    yield request.param
    loops.AREA.limit_vectors(2)


def expected(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return what OpenCV makes of an image, without IPP."""
    cv2.ipp.setUseIPP(False)
    made = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.reshape(made, (*size, pixels.shape[2])).astype(np.uint8, copy=False)


def contents(kind: str, shape: tuple[int, int, int], seed: int) -> Pixels:
    """Return noise, noise of the two extreme levels, one level everywhere, or a gradient."""
    noise = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    if kind == "noise":
        return noise
    if kind == "extreme":
        return noise // 128 * 255
    if kind == "level":
        return np.full(shape, seed % 256, np.uint8)
    y, x, channel = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return np.asarray((y * 255 // shape[0] + x * 255 // shape[1]) // 2 + channel, np.uint8)


def averaged(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return what the loop makes of an image, between rows that it must not touch."""
    rows = np.full((size[0] + 2, size[1], pixels.shape[2]), 0xA5, np.uint8)
    assert loops.is_averaged(pixels, rows[1:-1])
    loops.AREA.average(pixels, rows[1:-1])
    assert (rows[[0, -1]] == 0xA5).all()
    return rows[1:-1]


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("start", "end"), SIZES)
def test_averages_are_those_of_opencv(start: tuple[int, int], end: tuple[int, int], channels: int) -> None:
    """Of every number of channels, whatever the image holds, also where levels lie on the border between two."""
    for kind in ("noise", "extreme", "gradient"):
        pixels = contents(kind, (*start, channels), 5)
        assert np.array_equal(expected(pixels, end), averaged(pixels, end)), kind


@given(
    start=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    channels=st.sampled_from([1, 3, 4]),
    around=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    kind=st.sampled_from(["noise", "extreme", "level", "gradient"]),
    seed=st.integers(0, 999),
)
def test_any_small_image_is_reduced_as_opencv_does(
    start: tuple[int, int],
    shares: tuple[float, float],
    channels: int,
    around: tuple[int, int],
    kind: str,
    seed: int,
) -> None:
    """Of any size, cut out of a larger one or not; on every path of this processor."""
    height, width = start
    whole = contents(kind, (height + around[0], width + around[1], channels), seed)
    pixels = whole[around[0] :, around[1] :]
    end = 1 + int(shares[0] * (height - 1)), 1 + int(shares[1] * (width - 1))
    if not loops.is_averaged(pixels, np.empty((*end, channels), np.uint8)):
        assert (height, width) == end or (height % end[0] == 0 and width % end[1] == 0)
        return
    wanted = expected(pixels, end)
    try:
        for most in (1, 2):
            loops.AREA.limit_vectors(most)
            assert np.array_equal(wanted, averaged(pixels, end)), most
    finally:
        loops.AREA.limit_vectors(2)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("fit", ["stretch", "cover"])
@pytest.mark.parametrize(("start", "end"), [*SIZES[:6], *OTHERS])
def test_resize_has_the_same_bytes_with_the_loop_and_without(
    start: tuple[int, int], end: tuple[int, int], fit: Any, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes on to OpenCV: whole factors, larger sides, hosts without the loop; boxes of `cover` too."""
    pixels = contents("noise", (*start, channels), 9)
    settings = Resize(height=end[0], width=end[1], filter="area", fit=fit)
    found = np.full((*end, channels), 0xA5, np.uint8)
    resize(pixels, settings, found)
    if fit == "stretch":
        assert np.array_equal(expected(pixels, end), found)
        assert loops.is_averaged(pixels, found) == ((start, end) in SIZES)
    monkeypatch.setattr(loops, "AREA", None)
    without = np.full((*end, channels), 0xA5, np.uint8)
    resize(pixels, settings, without)
    assert np.array_equal(without, found)


@pytest.mark.usefixtures("vectors")
def test_what_lies_around_an_image_counts_nothing() -> None:
    """Vectors read no pixel beyond the rows of a view."""
    rng = np.random.default_rng(8)
    for (height, width), end in (((9, 30), (7, 13)), ((40, 17), (11, 16)), ((90, 4), (22, 3)), ((17, 5), (16, 2))):
        around = rng.integers(0, 256, (height + 4, width + 9, 3), np.uint8)
        other = 255 - around
        other[2:-2, 4:-5] = around[2:-2, 4:-5]
        assert np.array_equal(averaged(around[2:-2, 4:-5], end), averaged(other[2:-2, 4:-5], end))


def test_the_loop_takes_no_memory_that_is_no_image() -> None:
    """Another type, shape or order, another number of channels, a larger side or read-only room is refused."""
    good = np.zeros((4, 5, 3), np.uint8)
    out = np.zeros((3, 4, 3), np.uint8)
    frozen = out.copy()
    frozen.flags.writeable = False
    views = (good[..., :2], good[:, ::-1], good[::-1], np.zeros((0, 5, 3), np.uint8), np.zeros((4, 5, 5), np.uint8))
    assert not any(loops.is_averaged(view, out) for view in views)
    for wrong in (*views, good[0], good.astype(np.uint16)):
        with pytest.raises(ValueError, match="an image must be uint8, height × width × 1, 3 or 4,"):
            loops.AREA.average(wrong, out)
    with pytest.raises(ValueError, match="height × width × 3,"):
        loops.AREA.average(good, np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="must not be larger than its image"):
        loops.AREA.average(good, np.zeros((3, 6, 3), np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        loops.AREA.average(good, frozen)
