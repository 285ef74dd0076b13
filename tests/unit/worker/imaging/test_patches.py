"""The cutter: from one image to all its patches, by every rule of the spec, from small images and every colour."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.imaging.cutting import CUP, KINDS, PATCH, TURNS, channels, cuts, cutter, draws_of, numbered

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.transform import Resize
from penstock.worker.imaging import resize
from penstock.worker.imaging.decode import Decoder


def test_the_cutter_cuts_where_the_offsets_say() -> None:
    """Random ones by the draws, y first; grid by rows; the centre; all of them after the resize."""
    pixels = channels(3, 60, 80)
    draws = np.random.default_rng(1).random((4, 2))
    expected = [(int(y * 41), int(x * 51)) for y, x in draws.tolist()]
    random = cuts({"patch": PATCH | {"kind": "random"}}, pixels, 4)
    assert all(
        np.array_equal(pixels[y : y + 20, x : x + 30], cut) for (y, x), cut in zip(expected, random, strict=True)
    )
    grid = cuts({"patch": PATCH | {"kind": "grid", "rows": 2, "columns": 2}}, pixels, 4)
    assert np.array_equal(pixels[40:, :30], grid[2])
    (small,) = cuts({"resize": {"height": 24, "width": 32}}, pixels)
    out = np.empty((24, 32, 3), np.uint8)
    resize.resize(pixels, Resize(height=24, width=32), out)
    assert np.array_equal(out, small)
    (center,) = cuts({"resize": {"height": 24, "width": 32}, "patch": PATCH}, pixels)
    assert np.array_equal(small[2:22, 1:31], center)


def test_a_sample_takes_as_many_uniforms_as_it_needs() -> None:
    """Two for a random offset, one for a manipulation: their number is part of the stream's definition."""
    found = [cutter({"patch": PATCH | {"kind": kind}}).columns for kind in KINDS]
    assert [0, 2, 0, 0] == found
    found = [cutter({"patch": PATCH | {"kind": kind}, "manipulations": CUP}).columns for kind in KINDS]
    assert [1, 3, 1, 1] == found


@given(st.integers(1, 40), st.integers(0, 10**6), st.integers(20, 120), st.integers(30, 120))
def test_scattered_patches_never_overlap_or_the_item_fails_in_words(
    count: int, item: int, height: int, width: int
) -> None:
    """It fails only if no arrangement at all would do; patches depend on the item and nothing else."""
    pixels, fits = numbered(height, width), (height // 20) * (width // 30)
    transform: dict[str, Any] = {"patch": PATCH | {"kind": "scattered"}}
    if count > fits:
        with pytest.raises(ItemError, match=rf"{count} patches of 20 × 30 do not fit .* at most {fits} do"):
            cuts(transform, pixels, count, item)
        return
    found = cuts(transform, pixels, count, item)
    corners = [(int(cut[0, 0, 0]), int(cut[0, 0, 1])) for cut in found]
    for (y, x), cut in zip(corners, found, strict=True):
        assert np.array_equal(pixels[y : y + 20, x : x + 30], cut)
    assert all(abs(a[0] - b[0]) >= 20 or abs(a[1] - b[1]) >= 30 for a, b in combinations(corners, 2))
    assert np.array_equal(found, cuts(transform, pixels, count, item))


def test_scattered_patches_lie_elsewhere_in_every_item_and_epoch_and_under_every_seed() -> None:
    """Each of the three moves them."""
    pixels, found = numbered(200, 240), set()
    for seed, epoch, item in ((7, 0, 0), (8, 0, 0), (7, 1, 0), (7, 0, 1)):
        maker = cutter({"patch": PATCH | {"kind": "scattered"}}, 3, seed)
        found.add(b"".join(cut.tobytes() for cut, _ in maker.cuts(pixels, epoch, item, draws_of(maker, 3))))
    assert 4 == len(found)


def test_the_whole_image_is_the_source_where_it_is_resized_or_too_small() -> None:
    """Then a decoder has to decode it all."""
    assert cutter({"resize": {"height": 20, "width": 30}}).sources((90, 90), 0, 0, np.empty((1, 0))) is None
    maker = cutter({"patch": PATCH | {"too_small": "pad"}})
    assert maker.sources((19, 90), 0, 0, np.empty((1, 0))) is None
    assert maker.sources((20, 30), 0, 0, np.empty((1, 0))) is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mix", [None, CUP, TURNS])
@pytest.mark.parametrize("count", [1, 3])
def test_a_small_image_is_quarantined_padded_or_enlarged(kind: str, mix: dict[str, Any] | None, count: int) -> None:
    """By the patch, or by what the manipulation that needs most would cut it from, whichever is drawn."""
    needed = {None: (20, 30), id(CUP): (39, 59), id(TURNS): (30, 30)}[id(mix) if mix else None]
    options: dict[str, Any] = {"manipulations": mix} if mix else {}
    enough, small = channels(count, *needed), channels(count, needed[0] - 1, needed[1] - 1)
    indices = range(len(cutter({"patch": PATCH} | options)._kinds))
    for rule in ("quarantine", "pad", "resize"):
        transform = {"patch": PATCH | {"kind": kind, "too_small": rule}} | options
        for index in indices:
            (cut,) = cuts(transform, enough, manipulation=index)
            assert (20, 30, count) == cut.shape
            if rule == "quarantine":
                with pytest.raises(ItemError, match="less than"):
                    cuts(transform, small, manipulation=index)
            else:
                (cut,) = cuts(transform, small, manipulation=index)
                assert (20, 30, count) == cut.shape


def test_a_padded_image_shows_its_border() -> None:
    """A constant of the spec's value, evenly around the image."""
    transform = {"patch": PATCH | {"too_small": "pad", "pad_mode": "constant", "pad_value": 9}}
    (cut,) = cuts(transform, np.full((10, 10, 3), 200, np.uint8))
    assert (cut[5:15, 10:20] == 200).all()
    assert 9 * (20 * 30 - 100) + 200 * 100 == cut[..., 0].sum()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_real_photos_of_every_colour_are_cut(mode: str, color: Any, shared_data: Path, tmp_path: Path) -> None:
    """As Pillow shows them, from real files that were saved in each of the colour spaces."""
    photo = Image.open(min((shared_data / "cats-dogs" / "cat").glob("*.jpg")))
    file = tmp_path / "photo.jpg"
    photo.convert(mode).save(file, quality=90)
    pixels = Decoder(color).decode(file.read_bytes())
    with Image.open(file) as image:
        assert mode == image.mode
        if color == "gray":
            image.draft("L", image.size)
        expected = np.asarray(image.convert("L" if color == "gray" else "RGB")).reshape(*pixels.shape[:2], -1)
    (cut,) = cuts({"color": color, "patch": {"height": 64, "width": 64}}, pixels)
    y, x = (expected.shape[0] - 64) // 2, (expected.shape[1] - 64) // 2
    assert np.array_equal(expected[y : y + 64, x : x + 64], cut)
