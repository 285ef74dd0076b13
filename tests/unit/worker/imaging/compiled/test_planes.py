"""The planes of JPEGs with halved colours: the pixels that come of them are libjpeg-turbo's, or there are no planes."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.cache.pipelines import cache_in, cached_plan, facts
from support.images import Pixels, encode, picture
from support.imaging.jpeg_parts import needs_planes
from support.imaging.pipelines import CROPPED, make_task

from penstock.worker.imaging.cache import prefix as prefix_module
from penstock.worker.imaging.compiled import planes as planes_module
from penstock.worker.imaging.compiled.planes import LEAST_WIDTH, PlaneDecoder, Planes, height_of, planes_shape, rows_of
from penstock.worker.imaging.partial_jpeg import Box
from penstock.worker.imaging.pipeline import Pipeline

#: Guard around a picture: no pixel of it may change.
GUARD = 93
RECIPE = {"recipe": {"name": "imagenet-train", "size": 32}}

pytestmark = needs_planes


def noisy(seed: int, height: int, width: int) -> Image.Image:
    """Return a picture whose colours change from pixel to pixel, to the ends of their range."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def painted(planes: Planes, box: Box, vectors: int = 3) -> Pixels:
    """Return the pixels of a box, made with vectors up to 1 (none), 2 (AVX2) or 3 (AVX-512).

    Memory behind the picture stays as it is.
    """
    size = planes.height * planes.width * 3
    room = np.full(size + 64, GUARD, np.uint8)
    out = room[:size].reshape(planes.height, planes.width, 3)
    planes_module.EXTENSION.colors(planes.rows, planes.width, np.array([box], np.int32), out, vectors)
    assert np.all(room[size:] == GUARD)
    return out[box.slices]


@settings(max_examples=400)
@given(data=st.data())
def test_pixels_of_any_part_are_those_of_the_whole_file(data: st.DataObject) -> None:
    """Any size, odd sides too, any quality, restart markers; any box; with each of this processor's vectors."""
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(LEAST_WIDTH, 110))
    seed, quality = data.draw(st.integers(0, 99)), data.draw(st.sampled_from((5, 50, 90, 100)))
    image = noisy(seed, height, width) if data.draw(st.booleans()) else picture(seed, seed % 3, height, width)
    more: dict[str, Any] = {"restart_marker_blocks": 3} if data.draw(st.booleans()) else {}
    file = encode(image, quality=quality, subsampling=2, **more)
    found = PlaneDecoder(10_000).decode(file)
    assert found is not None
    assert (height, width, planes_shape(height, width)) == (found.height, found.width, found.rows.shape)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = Box(top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
    whole = simplejpeg.decode_jpeg(file, "RGB")
    for vectors in (1, 2, 3):
        assert np.array_equal(whole[box.slices], painted(found, box, vectors)), vectors


@pytest.mark.parametrize("extreme", [0, 255])
def test_every_pair_of_chroma_levels_gives_libjpegs_colours(extreme: int) -> None:
    """All 65,536 pairs, each beside others, with luma at an end of its range: nothing wraps around."""
    blue, red = np.meshgrid(np.arange(256), np.arange(256))
    luma = np.full((512, 512), extreme)
    luma[::3, ::5] = 255 - extreme
    rows = np.concatenate([luma, np.concatenate([blue, red], axis=1)]).astype(np.uint8)[..., np.newaxis]
    planes = Planes(np.ascontiguousarray(rows), 512, 512)
    box = Box(0, 0, 512, 512)
    found = [painted(planes, box, vectors) for vectors in (1, 2, 3)]

    def upsampled(plane: Any) -> Any:
        near = np.repeat(np.pad(plane.astype(np.int64), 1, "edge"), 2, axis=0)[1:-1]
        other = np.pad(plane.astype(np.int64), 1, "edge")
        sums = np.empty((512, 258), np.int64)
        sums[::2], sums[1::2] = 3 * near[1:-1:2] + other[:-2], 3 * near[2::2] + other[2:]
        out = np.empty((512, 512), np.int64)
        out[:, ::2] = (3 * sums[:, 1:-1] + sums[:, :-2] + 8) >> 4
        out[:, 1::2] = (3 * sums[:, 1:-1] + sums[:, 2:] + 7) >> 4
        return out

    cb, cr = upsampled(blue) - 128, upsampled(red) - 128
    expected = np.stack(
        [
            luma + ((91881 * cr + 32768) >> 16),
            luma + ((-22554 * cb - 46802 * cr + 32768) >> 16),
            luma + ((116130 * cb + 32768) >> 16),
        ],
        axis=-1,
    )
    for pixels in found:
        assert np.array_equal(np.clip(expected, 0, 255), pixels)


def test_photos_of_all_cameras_give_the_same_pixels(shared_data: Path) -> None:
    """Their tables and restart intervals are not those of an encoder of ours; those with other samplings have none."""
    decoder, rng, halved = PlaneDecoder(200_000_000), random.Random(1), 0
    for file in sorted((shared_data / "camera").glob("*.jpg"))[::4]:
        data = file.read_bytes()
        found = decoder.decode(data)
        if found is None:
            continue
        halved += 1
        height, width = found.height // 4, found.width // 4
        box = Box(rng.randint(0, found.height - height), rng.randint(0, found.width - width), height, width)
        assert np.array_equal(simplejpeg.decode_jpeg(data, "RGB")[box.slices], painted(found, box))
    assert halved


def test_other_files_have_no_planes() -> None:
    """Other samplings, gray, progressive, RGB and CMYK inside, too large, too narrow, damaged anywhere, and no JPEG."""
    decoder, image = PlaneDecoder(2_500), noisy(1, 40, 60)
    file = encode(image, subsampling=2)
    assert decoder.decode(file) is not None
    others = [
        encode(image, subsampling=0),
        encode(image, subsampling=1),
        encode(image.convert("L")),
        encode(image.convert("CMYK")),
        encode(image, subsampling=2, progressive=True),
        encode(image, keep_rgb=True),
        encode(noisy(1, 50, 51), subsampling=2),
        encode(noisy(1, 50, LEAST_WIDTH - 1), subsampling=2),
        encode(image, "PNG"),
        b"",
        b"\xff\xd8",
    ]
    assert [None] * len(others) == [decoder.decode(other) for other in others]
    assert [None] * len(file) == [decoder.decode(file[:length]) for length in range(len(file))]


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_file_has_no_planes_where_its_decoder_refuses_it(data: st.DataObject) -> None:
    """So it fails, or not, as without a cache; and what has planes nevertheless has the decoder's pixels."""
    file = bytearray(encode(noisy(data.draw(st.integers(0, 9)), 48, 64), subsampling=2))
    for _ in range(data.draw(st.integers(1, 3))):
        file[data.draw(st.integers(2, len(file) - 1))] = data.draw(st.integers(0, 255))
    found = PlaneDecoder(10_000).decode(bytes(file))
    if found is None:
        return
    whole = simplejpeg.decode_jpeg(bytes(file), "RGB")
    box = Box(0, 0, found.height, found.width)
    assert np.array_equal(whole, painted(found, box))


@pytest.mark.parametrize("height", [1, 2, 3, 16, 17, 65_499, 65_500])
def test_the_height_follows_from_the_rows(height: int) -> None:
    """The store keeps the number of rows."""
    assert height == height_of(rows_of(height))


def test_planes_that_do_not_fit_to_a_picture_are_refused() -> None:
    """Too few rows, another width, no room for the pixels, and a box outside: an error, never other memory."""
    rows, out = np.zeros(planes_shape(20, 30), np.uint8), np.zeros((20, 30, 3), np.uint8)
    colors, box = planes_module.EXTENSION.colors, [0, 0, 20, 30]
    colors(rows, 30, np.array([box], np.int32), out)
    wrong = [
        (rows[:-1], 30, box, out),
        (rows, 33, box, out),
        (rows, 15, box, out),
        (rows, 70_000, box, out),
        (rows[:0], 30, box, out),
        (rows, 30, box, out[:-1]),
        (rows, 30, [0, 0, 21, 30], out),
        (rows, 30, [-1, 0, 5, 5], out),
        (rows, 30, [0, 28, 5, 3], out),
        (rows, 30, [0, 0, 0, 3], out),
        (rows, 30, [2**31 - 1, 0, 2**31 - 1, 3], out),
    ]
    for planes, width, part, room in wrong:
        with pytest.raises(ValueError, match="rows of a picture of this width"):
            colors(planes, width, np.array([part], np.int32), room)


@pytest.mark.parametrize("transform", [RECIPE, CROPPED, {"partial_decoding": False} | RECIPE], ids=str)
def test_a_stream_of_halved_jpegs_keeps_half_as_many_bytes(
    transform: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a host without the extension keeps pixels, in a group of its own in the same folder; samples are the same."""
    names = [f"{number}.jpg" for number in range(3)]
    for number, name in enumerate(names):
        image = noisy(number, 64 + number, 96)
        (tmp_path / name).write_bytes(encode(image, quality=90, subsampling=2))
    plan, roots, kept = cached_plan(transform), {"photos": tmp_path}, []
    expected = [facts(Pipeline(plan, roots).run(make_task(names, epoch))) for epoch in range(3)]
    for extension in (planes_module.EXTENSION, None):
        monkeypatch.setattr(prefix_module, "EXTENSION", extension)
        cache = cache_in(tmp_path / "cache")
        pipeline = Pipeline(plan, roots, cache=cache)
        assert expected == [facts(pipeline.run(make_task(names, epoch))) for epoch in range(3)]
        assert (6, 3) == (cache.counts.hits, cache.counts.misses)
        kept.append(cache.counts.written_bytes)
    assert [sum(rows_of(64 + number) * 96 for number in range(3)), 3 * 65 * 96 * 3] == kept


def test_a_turned_photo_is_kept_as_it_is_shown(tmp_path: Path) -> None:
    """Its planes lie as they are stored."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (tmp_path / "a.jpg").write_bytes(encode(noisy(1, 64, 96), exif=exif, subsampling=2))
    for oriented, size in ((True, 64 * 96 * 3), (False, rows_of(64) * 96)):
        plan, roots = cached_plan(RECIPE | {"exif_orientation": oriented}), {"photos": tmp_path}
        cache = cache_in(tmp_path / f"{oriented}")
        for epoch in range(2):
            task = make_task(["a.jpg"], epoch)
            assert facts(Pipeline(plan, roots).run(task)) == facts(Pipeline(plan, roots, cache=cache).run(task))
        assert (1, size) == (cache.counts.hits, cache.counts.written_bytes)
