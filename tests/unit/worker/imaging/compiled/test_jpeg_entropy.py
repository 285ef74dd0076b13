"""Our own entropy decoding of JPEGs: libjpeg's coefficients, or none at all."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import simplejpeg  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.images import Pixels, encode, picture
from support.imaging.jpeg_parts import SUBSAMPLINGS, frame_of, jpeg, large, needs_extension, parts_by, same

from penstock.protocol.errors import ItemError
from penstock.worker.imaging import partial_jpeg
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.partial_jpeg import Box

pytestmark = needs_extension
OURS, LIBJPEG = 2, 1
_TOLD_APART = 16


def reduced(boxes: list[Box], reduction: int) -> list[Box]:
    """Return where the boxes lie in the reduced image."""
    return [
        Box(
            box.top // reduction,
            box.left // reduction,
            -(-(box.top + box.height) // reduction) - box.top // reduction,
            -(-(box.left + box.width) // reduction) - box.left // reduction,
        )
        for box in boxes
    ]


def whole(data: bytes, channels: int, reduction: int) -> Pixels:
    """Return all of an image, as libjpeg reduces it."""
    frame = frame_of(data)
    height, width = -(-frame.height // reduction), -(-frame.width // reduction)
    space = "RGB" if channels == 3 else "GRAY"
    pixels: Pixels = simplejpeg.decode_jpeg(data, space, min_height=height, min_width=width)
    assert (height, width) == pixels.shape[:2]
    return pixels


def noise(seed: int, height: int, width: int) -> Image.Image:
    """Return an image whose every coefficient counts: blocks without an end-of-block code."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Draw a JPEG: sizes, qualities, tables of the file's own, samplings, restart markers, pictures and noise."""
    height, width, quality = (
        draw(st.integers(1, 130)),
        draw(st.integers(1, 130)),
        draw(st.sampled_from((5, 50, 92, 100))),
    )
    if draw(st.booleans()):
        return jpeg(height, width, draw(st.sampled_from(SUBSAMPLINGS)), quality)
    image = noise(1, height, width) if draw(st.booleans()) else Image.fromarray(picture(3, 0, height, width))
    options: dict[str, Any] = {
        "subsampling": draw(st.integers(0, 2)),
        "quality": quality,
        "optimize": draw(st.booleans()),
    }
    options |= draw(
        st.sampled_from(({}, {"restart_marker_blocks": 1}, {"restart_marker_blocks": 5}, {"restart_marker_rows": 1}))
    )
    if draw(st.booleans()):  # gray, whose factors of sampling must be 1
        image, options["subsampling"] = image.convert("L"), 0
    return encode(image, "JPEG", **options)


@settings(max_examples=600)
@given(data=st.data())
def test_parts_and_reduced_parts_of_any_file_are_those_of_the_whole(data: st.DataObject) -> None:
    """It gives up at no file without a flaw, wherever the part lies, whichever components are wanted."""
    file = data.draw(files())
    frame = frame_of(file)
    top, left = data.draw(st.integers(0, frame.height - 1)), data.draw(st.integers(0, frame.width - 1))
    height, width = data.draw(st.integers(1, frame.height - top)), data.draw(st.integers(1, frame.width - left))
    boxes, channels = [Box(top, left, height, width)], data.draw(st.sampled_from((1, 3)))
    # Which reduction is meant shows in the size that simplejpeg is asked for, but for images of a few pixels.
    for reduction in (1, 2, 4, 8) if max(frame.height, frame.width) >= _TOLD_APART else (1,):
        found = parts_by(file, boxes, channels, reduction, OURS)
        assert found is not None, reduction
        assert same(whole(file, channels, reduction), found, reduced(boxes, reduction)), reduction


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_it_reads_photos_of_all_cameras(reduction: int, shared_data: Path) -> None:
    """Their tables, samplings and restart intervals are not those of an encoder of ours."""
    rng = random.Random(reduction)
    for file in sorted((shared_data / "camera").glob("*.jpg"))[reduction % 3 :: 3]:
        data = file.read_bytes()
        frame = frame_of(data)
        height, width = frame.height // rng.randint(2, 5), frame.width // rng.randint(2, 5)
        boxes = [Box(rng.randint(0, frame.height - height), rng.randint(0, frame.width - width), height, width)]
        ours, other = (parts_by(data, boxes, 3, reduction, way) for way in (OURS, LIBJPEG))
        assert ours is not None, file.name
        assert other is not None, file.name
        assert same(other, ours, reduced(boxes, reduction)), file.name


@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_large_files_are_decoded_whole_as_without_it(
    color: Literal["rgb", "gray"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any scale; simplejpeg is asked for damaged files alone, which it refuses in the same words."""
    decoder = Decoder(color)
    sizes = (None, (300, 350), (150, 175), (75, 88))
    for data in (large(), large(subsampling=0, optimize=True), large("L"), large(restart_marker_rows=1)):
        with monkeypatch.context() as patch:
            patch.setattr(partial_jpeg, "_EXTENSION", None)
            expected = [decoder.decode(data, least).copy() for least in sizes]
            with pytest.raises(ItemError) as without:
                decoder.decode(data[:-2000])
        with pytest.raises(ItemError) as caught:
            decoder.decode(data[:-2000])
        assert str(without.value) == str(caught.value)
        monkeypatch.setattr(simplejpeg, "decode_jpeg", None)
        for least, pixels in zip(sizes, expected, strict=True):
            assert np.array_equal(pixels, decoder.decode(data, least)), least
        monkeypatch.undo()


def swapped(data: bytes) -> bytes:
    """Return a JPEG of the standard tables with what two codes of a length stand for swapped."""
    assert data.count(b"\x21\x31\x41\x06") == 1
    return data.replace(b"\x21\x31\x41\x06", b"\x21\x41\x31\x06")


@pytest.mark.parametrize("by_parts", [False, True])
def test_tables_are_not_kept_for_files_that_have_others(*, by_parts: bool) -> None:
    """Those of one file stay for the next, unless that has as many codes of each length that stand for others."""
    image = Image.fromarray(picture(3, 1, 90, 120))
    plain = encode(image, quality=60)
    files = [plain, swapped(plain), encode(image, optimize=True), encode(image.convert("L")), encode(noise(1, 90, 120))]
    boxes = [Box(40, 50, 20, 20) if by_parts else Box(0, 0, 90, 120)]
    expected = []
    for file in files:
        pixels = parts_by(file, boxes, 3, 1, LIBJPEG)
        assert pixels is not None
        expected.append(pixels)
    assert not same(expected[0], expected[1], boxes)
    for number in (0, 1, 0, 2, 3, 0, 0, 4, 1, 1, 3, 2, 4, 0):
        ours = parts_by(files[number], boxes, 3, 1, OURS)
        assert ours is not None, number
        assert same(expected[number], ours, boxes), number


def stairs(*rises: int) -> bytes:
    """Return a gray JPEG of one level a block, each so much higher than the one before; its tables are its own."""
    levels = 128 + np.cumsum(rises)
    return encode(
        Image.fromarray(np.repeat(np.repeat(levels[np.newaxis], 8, 0), 8, 1).astype(np.uint8)),
        quality=100,
        optimize=True,
    )


def dc_table(data: bytes) -> tuple[bytes, bytes]:
    """Return how many codes of each length the first table of Huffman codes has, and what they stand for."""
    at = data.index(b"\xff\xc4\x00") + 5
    counts = data[at : at + 16]
    return counts, data[at + 16 : at + 16 + sum(counts)]


def test_tables_are_not_kept_for_files_whose_codes_have_other_lengths() -> None:
    """They stand for the same symbols in the same order, so that the lengths alone tell them apart."""
    files = [stairs(1, 1, 1, 1, 1, 1, 1, 1, 2, 4), stairs(1, 2, 4, 1, 2, 4, 1, 2, 4)]
    (counts, symbols), (other_counts, other_symbols) = map(dc_table, files)
    assert counts != other_counts
    assert symbols == other_symbols
    for file in files * 2:
        expected = whole(file, 1, 1)
        boxes = [Box(0, 0, *expected.shape[:2])]
        ours = parts_by(file, boxes, 1, 1, OURS)
        assert ours is not None
        assert same(expected, ours, boxes)


def test_threads_decode_at_once() -> None:
    """Each has tables of its own, whichever of them are kept afterwards."""
    files = [jpeg(90, 120, quality=quality) for quality in (30, 80)] + [
        encode(Image.fromarray(picture(3, 1, 90, 120)), optimize=True, quality=quality) for quality in (40, 90)
    ]
    boxes = [Box(0, 0, 90, 120)]
    expected = [parts_by(file, boxes, 3, 1, LIBJPEG) for file in files]

    def check(number: int) -> bool:
        ours, other = parts_by(files[number], boxes, 3, 1, OURS), expected[number]
        return ours is not None and other is not None and same(other, ours, boxes)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, [number for _ in range(200) for number in range(4)]))


def damaged(count: int) -> list[bytes]:
    """Return JPEGs with bits turned, bytes changed, left out or put in, and ends cut off, anywhere in the data."""
    rng, found = random.Random(20_261_130), []
    originals = [jpeg(61, 83, each, quality) for each in SUBSAMPLINGS for quality in (50, 95)]
    originals += [encode(picture(3, 0, 61, 83), subsampling=each, restart_marker_blocks=3) for each in (0, 1, 2)]
    originals += [encode(noise(2, 61, 83), quality=98, optimize=True), encode(picture(5, 0, 61, 83), optimize=True)]
    for _ in range(count):
        data = bytearray(rng.choice(originals))
        start = frame_of(bytes(data)).data_at if rng.random() < 0.8 else 2
        for _ in range(rng.choice((1, 1, 1, 3))):
            at = rng.randrange(start, len(data) - 2)
            match rng.randrange(5):
                case 0:
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    data[at : at + rng.choice((1, 2, 8))] = rng.choice(
                        (b"\xff", b"\0", b"\xff\0", b"\xff\xd9", b"\xff\xd1")
                    )
                case 2:
                    data[at : at + rng.randint(1, 9)] = b""
                case 3:
                    data[at:at] = rng.randbytes(rng.randint(1, 40))
                case _:
                    data[max(start, len(data) - rng.randint(3, 12)) :] = b"\xff\xd9"
            if len(data) < start + 8:
                break
        found.append(bytes(data))
    return found


def test_what_it_takes_for_sound_is_what_libjpeg_takes_for_sound() -> None:
    """Of a damaged file it decodes nothing that libjpeg would refuse, and nothing otherwise than libjpeg."""
    rng, accepted, given_up = random.Random(6), 0, 0
    for data in damaged(3000):
        frame = partial_jpeg.frame_of(data)
        if frame is None or frame.height * frame.width > 1_000_000:
            continue
        top, left = rng.randrange(frame.height), rng.randrange(frame.width)
        boxes = [Box(top, left, rng.randint(1, frame.height - top), rng.randint(1, frame.width - left))]
        reduction, channels = rng.choice((1, 1, 2, 4, 8)), rng.choice((1, 3))
        ours = parts_by(data, boxes, channels, reduction, OURS)
        if ours is None:
            given_up += 1
            continue
        accepted += 1
        other = parts_by(data, boxes, channels, reduction, LIBJPEG)
        assert other is not None
        assert same(other, ours, reduced(boxes, reduction))
    assert min(accepted, given_up) > 200, (accepted, given_up)
