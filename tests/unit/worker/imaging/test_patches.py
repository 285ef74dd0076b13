"""The cutter: from one image to all its patches, under every rule of the spec, with real files of every colour."""

import io
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.images import Pixels, encode, picture

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Manipulation
from penstock.protocol.spec.spec import Stream
from penstock.protocol.spec.transform import Resize
from penstock.worker.imaging import resize
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.operations.gamma import Gamma
from penstock.worker.imaging.operations.jpeg import Jpeg
from penstock.worker.imaging.operations.rescale import Rescale
from penstock.worker.imaging.operations.rotate import Rotate
from penstock.worker.imaging.partial_jpeg import Box
from penstock.worker.imaging.patches import Cutter

PATCH: dict[str, Any] = {"height": 20, "width": 30}
CUP = {"preset": "ieee-sp-cup-2018"}
TURNS: dict[str, Any] = {"choices": [{"kind": "rot90", "turns": turns} for turns in (1, 2, 3)]}
KINDS = ("center", "random", "grid", "scattered")


def channels(count: int, height: int, width: int) -> Pixels:
    """Return a picture of 3 channels, or of 1."""
    return np.ascontiguousarray(picture(7, 1, height, width)[..., :count])


def cutter(transform: dict[str, Any], count: int = 1, seed: int = 7) -> Cutter:
    """Return the cutter of a stream with this transform and so many patches an item."""
    source = {"kind": "directory", "root": "photos"}
    settings = Stream.model_validate({"source": source, "transform": transform, "patches": count})
    return Cutter(settings, seed)


def draws_of(maker: Cutter, count: int, seed: int = 1) -> Any:
    """Return uniforms for one item."""
    return np.random.default_rng(seed).random((count, maker.columns))


def cuts(transform: dict[str, Any], pixels: Pixels, count: int = 1, item: int = 0, **options: Any) -> list[Pixels]:
    """Return copies of one image's patches."""
    maker = cutter(transform, count)
    return [cut.copy() for cut, _ in maker.cuts(pixels, 0, item, draws_of(maker, count), **options)]


def whole(pixels: Pixels, manipulation: Manipulation | None) -> Pixels:
    """Manipulate a whole image by Pillow and numpy, but leave it unturned."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    match manipulation:
        case Gamma(value=value):
            return np.floor(255.0 * (pixels / 255.0) ** value + 0.5).astype(np.uint8)
        case Jpeg(value=value):
            file = io.BytesIO(encode(image, quality=value, subsampling=2))
            return np.asarray(Image.open(file)).reshape(pixels.shape)
        case Rescale():
            height, width = manipulation.size((pixels.shape[0], pixels.shape[1]))
            resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
            return resized.reshape(height, width, pixels.shape[2])
        case _:
            return pixels


# places


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


def numbered(height: int, width: int) -> Pixels:
    """Return an image whose pixels name their row and column; sides below 250."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, y ^ x], axis=2).astype(np.uint8)


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


# manipulations


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


def test_the_whole_image_is_the_source_where_it_is_resized_or_too_small() -> None:
    """Then a decoder has to decode it all."""
    assert cutter({"resize": {"height": 20, "width": 30}}).sources((90, 90), 0, 0, np.empty((1, 0))) is None
    maker = cutter({"patch": PATCH | {"too_small": "pad"}})
    assert maker.sources((19, 90), 0, 0, np.empty((1, 0))) is None
    assert maker.sources((20, 30), 0, 0, np.empty((1, 0))) is not None


def test_a_resized_image_can_be_manipulated_without_patches() -> None:
    """The sample is then the whole, or of an enlarged one the centre."""
    pixels = channels(3, 60, 80)
    mix = {"choices": [{"kind": "gamma", "value": 0.8}, {"kind": "resize", "value": 2}]}
    transform = {"resize": {"height": 24, "width": 32}, "manipulations": mix}
    (plain,), (bright,), (near,) = (cuts(transform, pixels, manipulation=index) for index in range(3))
    assert np.array_equal(whole(plain, Gamma(kind="gamma", value=0.8)), bright)
    assert np.array_equal(whole(plain, Rescale(kind="resize", value=2))[12:36, 16:48], near)


# images that are too small


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


# real files of every colour


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
