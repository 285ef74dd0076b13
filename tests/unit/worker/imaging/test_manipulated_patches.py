"""The cutter under manipulations: each patch is cut from the whole image, manipulated."""

from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.images import encode, picture
from support.imaging.cutting import CUP, KINDS, PATCH, TURNS, channels, cuts, cutter, draws_of, numbered, whole

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.operations.gamma import Gamma
from penstock.worker.imaging.operations.rescale import Rescale
from penstock.worker.imaging.operations.rotate import Rotate
from penstock.worker.imaging.partial_jpeg import Box


@pytest.mark.parametrize("mix", [CUP, TURNS])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 3])
def test_every_patch_is_cut_from_the_whole_image_manipulated(mix: dict[str, Any], kind: str, count: int) -> None:
    """Under all manipulations, at the offset that the draws mean in the manipulated image, turned afterwards."""
    pixels, patches = channels(count, 150, 170), 1 if kind == "center" else 2
    grid = {"rows": 2} if kind == "grid" else {}
    transform = {"patch": PATCH | {"kind": kind} | grid, "manipulations": mix}
    maker = cutter(transform, patches)
    draws = draws_of(maker, patches)
    for index, manipulation in enumerate(maker._kinds):
        changed = whole(pixels, manipulation)
        turns = manipulation.turns if isinstance(manipulation, Rotate) else 0
        height, width = (30, 20) if turns % 2 else (20, 30)
        for patch, (cut, chosen) in enumerate(maker.cuts(pixels, 0, 0, draws, index)):
            assert index == chosen
            assert (20, 30, count) == cut.shape
            room = changed.shape[0] - height, changed.shape[1] - width
            if kind == "center":
                places = [(room[0] // 2, room[1] // 2)]
            elif kind == "random":
                places = [(int(draws[patch, 0] * (room[0] + 1)), int(draws[patch, 1] * (room[1] + 1)))]
            elif kind == "grid":
                places = [(room[0] * patch, room[1] // 2)]
            else:  # another test says where
                places = [(y, x) for y in range(room[0] + 1) for x in range(room[1] + 1)]
            straight = np.rot90(cut, -turns)
            parts = (changed[y : y + height, x : x + width] for y, x in places)
            assert any(np.array_equal(straight, part) for part in parts), (manipulation, patch)


@settings(max_examples=50)
@given(st.integers(2, 6), st.integers(0, 10**6), st.integers(130, 240), st.integers(130, 240))
def test_scattered_patches_do_not_overlap_in_the_source_under_any_manipulation(
    count: int, item: int, height: int, width: int
) -> None:
    """Whatever each of them shows: enlarged, reduced or turned, compared as exact fractions of the source."""
    mix = {"preset": CUP["preset"], "choices": TURNS["choices"]}
    maker = cutter({"patch": PATCH | {"kind": "scattered"}, "manipulations": mix}, count)
    boxes = []
    for window, chosen in maker._windows((height, width), 0, item, draws_of(maker, count, item), None):
        kind = maker._kinds[chosen]
        tall, wide = kind.size((height, width)) if kind else (height, width)
        boxes.append(
            (
                Fraction(window.y * height, tall),
                Fraction((window.y + window.height) * height, tall),
                Fraction(window.x * width, wide),
                Fraction((window.x + window.width) * width, wide),
            )
        )
    for a, b in combinations(boxes, 2):
        assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]


def test_a_manipulation_is_chosen_by_the_last_uniform() -> None:
    """So that a file of patches can hold all of them, the others at the same relative place."""
    pixels = channels(3, 200, 220)
    maker = cutter({"patch": PATCH | {"kind": "random"}, "manipulations": CUP}, 300)
    draws = draws_of(maker, 300)
    found = [(cut.copy(), index) for cut, index in maker.cuts(pixels, 0, 0, draws)]
    assert (draws[:, 2] * 9).astype(int).tolist() == [index for _, index in found]
    for forced in range(9):
        for (cut, index), (drawn, chosen) in zip(maker.cuts(pixels, 0, 0, draws, forced), found, strict=True):
            assert forced == index
            assert forced != chosen or np.array_equal(drawn, cut)


def test_the_same_draws_show_the_same_place_under_every_manipulation() -> None:
    """The middle of the patch moves by less than two pixels of the source, a turn included."""
    pixels = np.repeat(numbered(200, 220)[..., 1:2], 3, axis=2)  # each pixel says its column
    mix = {"choices": [{"kind": "resize", "value": value} for value in (0.5, 0.8, 1.5, 2.0)]}
    for kind in ("center", "random", "scattered"):
        maker = cutter({"patch": {"height": 24, "width": 24, "kind": kind}, "manipulations": mix}, 1)
        draws = draws_of(maker, 1)
        draws[:] = 0.5
        middles = [float(cut.mean()) for index in range(5) for cut, _ in maker.cuts(pixels, 0, 0, draws, index)]
        assert 5 == len(middles)
        assert np.ptp(middles) < 2.0, (kind, middles)


@settings(max_examples=60)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.integers(60, 200), st.integers(60, 200))
def test_what_lies_outside_the_sources_does_not_matter(kind: str, item: int, height: int, width: int) -> None:
    """A decoder may leave it out."""
    pixels, count = channels(3, height, width), 1 if kind in ("center", "grid") else 2
    mix = {"preset": CUP["preset"], "choices": TURNS["choices"]}
    maker = cutter({"patch": PATCH | {"kind": kind}, "manipulations": mix}, count)
    draws = draws_of(maker, count, item)
    try:
        expected = [(cut.copy(), index) for cut, index in maker.cuts(pixels, 0, item, draws)]
    except ItemError as error:
        assert "do not fit" in str(error)  # noqa: PT017 - two patches at once may not
        return
    sources = maker.sources((height, width), 0, item, draws)
    assert sources is not None
    poisoned = 255 - pixels
    for source in sources:
        source.of(poisoned)[...] = source.of(pixels)
    for (cut, index), (again, twin) in zip(expected, maker.cuts(poisoned, 0, item, draws), strict=True):
        assert index == twin
        assert np.array_equal(cut, again)


def test_a_resized_image_can_be_manipulated_without_patches() -> None:
    """The sample is then the whole, or of an enlarged one the centre."""
    pixels = channels(3, 60, 80)
    mix = {"choices": [{"kind": "gamma", "value": 0.8}, {"kind": "resize", "value": 2}]}
    transform = {"resize": {"height": 24, "width": 32}, "manipulations": mix}
    (plain,), (bright,), (near,) = (cuts(transform, pixels, manipulation=index) for index in range(3))
    assert np.array_equal(whole(plain, Gamma(kind="gamma", value=0.8)), bright)
    assert np.array_equal(whole(plain, Rescale(kind="resize", value=2))[12:36, 16:48], near)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize("kind", KINDS)
def test_files_of_every_colour_are_cut_and_manipulated(mode: str, color: Any, kind: str) -> None:
    """The channels of a sample are the spec's, whatever the file's; patches are those of the decoded image."""
    data = encode(Image.fromarray(picture(3, 1, 120, 140)).convert(mode), quality=95)
    pixels = Decoder(color).decode(data)
    mix = {"preset": CUP["preset"], "choices": TURNS["choices"]}
    transform = {"color": color, "patch": PATCH | {"kind": kind}, "manipulations": mix}
    maker = cutter(transform)
    for index, manipulation in enumerate(maker._kinds):
        ((cut, _),) = maker.cuts(pixels, 0, 0, draws_of(maker, 1), index)
        assert (20, 30, 3 if color == "rgb" else 1) == cut.shape
        changed = whole(pixels, manipulation)
        assert abs(float(cut.mean()) - float(changed.mean())) < 40.0  # the picture is of one pattern all over


def test_a_photo_decoded_in_part_yields_the_same_patches(shared_data: Path) -> None:
    """The decoder is told what the patches follow from, under every manipulation and place."""
    data = (shared_data / "camera" / "Nikon D90.jpg").read_bytes()
    decoder = Decoder("rgb")
    mix = {"preset": CUP["preset"], "choices": TURNS["choices"]}
    for kind, count in (("random", 12), ("scattered", 12), ("center", 1)):
        maker = cutter({"patch": {"height": 100, "width": 140, "kind": kind}, "manipulations": mix}, count)
        draws, size = draws_of(maker, count), decoder.size(data)
        assert size is not None
        sources = maker.sources(size, 0, 5, draws)
        assert sources is not None
        boxes = [Box(source.y, source.x, source.height, source.width) for source in sources]
        parts = [cut.copy() for cut, _ in maker.cuts(decoder.decode_parts(data, boxes), 0, 5, draws)]
        for part, (cut, _) in zip(parts, maker.cuts(decoder.decode(data), 0, 5, draws), strict=True):
            assert np.array_equal(cut, part), kind
