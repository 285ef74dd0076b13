"""Parts of JPEGs: the pixels of the whole, both ways of getting them, and what is noticed of damage."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from simplejpeg import decode_jpeg, encode_jpeg  # type: ignore[import-untyped]
from support.images import Pixels, encode, picture

from penstock.protocol.errors import ItemError
from penstock.worker.imaging import partial_jpeg
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.partial_jpeg import Box, Frame

EXTENSION = partial_jpeg.load_extension()
needs_extension = pytest.mark.skipif(EXTENSION is None, reason="the extension _jpeg_regions was not built here")
SUBSAMPLINGS = ("444", "422", "420", "440", "411", "Gray")


Way = Callable[[bytes, Frame, list[Box], Pixels], bool]


def by_top_rows(data: bytes, frame: Frame, boxes: list[Box], out: Pixels) -> bool:
    """Decode as where the extension is missing."""
    rows = frame.rows(boxes)
    end = len(data) if rows == frame.height else frame.end(data, rows)
    return end is not None and partial_jpeg.by_top_rows(data, frame, end, out[:rows])


def by_extension(data: bytes, frame: Frame, boxes: list[Box], out: Pixels) -> bool:
    """Decode by the extension, however much of the image the boxes cover."""
    rows = frame.rows(boxes)
    return (rows == frame.height or frame.end(data, rows) is not None) and partial_jpeg.by_extension(
        data, frame, boxes, out
    )


WAYS = [
    pytest.param(by_top_rows, id="top rows"),
    pytest.param(by_extension, id="extension", marks=needs_extension),
]


def cut(pixels: Pixels, boxes: list[Box]) -> list[Pixels]:
    """Return what lies in the boxes."""
    return [pixels[box.slices] for box in boxes]


def same(expected: Pixels, found: Pixels, boxes: list[Box]) -> bool:
    """Tell whether all pixels in the boxes are equal."""
    return expected.shape == found.shape and all(
        np.array_equal(one, other) for one, other in zip(cut(expected, boxes), cut(found, boxes), strict=True)
    )


def parts(way: Way, data: bytes, boxes: list[Box], channels: int = 3) -> Pixels | None:
    """Return an image of which only the boxes were asked for; the rest is what no decoder would leave."""
    frame = frame_of(data)
    out = np.full((frame.height, frame.width, channels), 93, np.uint8)
    return out if way(data, frame, boxes, out) else None


def frame_of(data: bytes) -> Frame:
    """Return the frame of a file that has one."""
    frame = partial_jpeg.frame_of(data)
    assert frame is not None
    return frame


def jpeg(height: int, width: int, subsampling: str = "420", quality: int = 85) -> bytes:
    """Return a picture as a JPEG."""
    pixels = picture(7, 1, height, width)
    if subsampling == "Gray":
        return bytes(encode_jpeg(pixels[..., :1].copy(), quality, "GRAY", "Gray"))
    return bytes(encode_jpeg(pixels, quality, colorsubsampling=subsampling))


@st.composite
def boxes_in(draw: st.DrawFn, height: int, width: int) -> list[Box]:
    """Draw one to four boxes inside an image; edges and single pixels are likely."""
    boxes = []
    for _ in range(draw(st.integers(1, 4))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        boxes.append(
            Box(top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left))),
        )
    return boxes


# the same pixels


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=400)
@given(data=st.data())
def test_any_boxes_of_any_baseline_jpeg_are_those_of_the_whole(way: Way, data: st.DataObject) -> None:
    """Sizes, subsamplings, qualities, restart intervals, several boxes, overlapping or not, in RGB and in gray."""
    height, width = data.draw(st.integers(1, 130)), data.draw(st.integers(1, 130))
    quality = data.draw(st.sampled_from((30, 85, 100)))
    if data.draw(st.booleans()):
        file = jpeg(height, width, data.draw(st.sampled_from(SUBSAMPLINGS)), quality)
    else:
        interval: dict[str, Any] = {data.draw(st.sampled_from(("restart_marker_blocks", "restart_marker_rows"))): 1}
        subsampling = data.draw(st.integers(0, 2))
        file = encode(picture(3, 0, height, width), subsampling=subsampling, quality=quality, **interval)
    channels = data.draw(st.sampled_from((1, 3)))
    boxes = data.draw(boxes_in(height, width))
    whole = decode_jpeg(file, "RGB" if channels == 3 else "GRAY")
    found = parts(way, file, boxes, channels)
    assert found is not None
    assert same(whole, found, boxes)


@pytest.mark.parametrize("way", WAYS)
def test_boxes_of_real_photos_are_those_of_the_whole(way: Way, shared_data: Path) -> None:
    """Photos of 14 cameras, whose headers and tables no encoder of ours writes."""
    rng, files = random.Random(20_261_121), sorted((shared_data / "camera").glob("*.jpg"))
    assert 14 == len(files)
    for file in files:
        data = file.read_bytes()
        frame, whole = frame_of(data), decode_jpeg(data, "RGB")
        boxes = [Box(rng.randint(0, frame.height - 224), rng.randint(0, frame.width - 224), 224, 224) for _ in range(3)]
        found = parts(way, data, boxes)
        assert found is not None, file.name
        assert same(whole, found, boxes), file.name


# the decoder


def large(mode: str = "RGB", **options: Any) -> bytes:
    """Return a JPEG that is large enough to be decoded in part."""
    return encode(Image.fromarray(picture(3, 1, 600, 700)).convert(mode), **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize("extension", [EXTENSION, None], ids=["extension", "top rows"])
def test_regions_are_cut_from_the_turned_image(
    orientation: int, color: Literal["rgb", "gray"], extension: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes are those of the image as `decode` gives it, whatever its EXIF orientation, with and without extension."""
    monkeypatch.setattr(partial_jpeg, "_EXTENSION", extension)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = large(exif=exif)
    decoder = Decoder(color, exif_orientation=True)
    whole = decoder.decode(data).copy()
    assert whole.shape[:2] == decoder.size(data)
    boxes = [Box(20, 310, 50, 61), Box(500, 555, 70, 22), Box(40, 300, 11, 12)]
    assert same(whole, decoder.decode_parts(data, boxes), boxes)


def test_what_gains_nothing_or_is_unusual_is_decoded_whole() -> None:
    """No size means: decode it. It depends on the file alone."""
    decoder = Decoder("rgb")
    plain = large()
    assert (600, 700) == decoder.size(plain)
    scan = plain.index(b"\xff\xda")
    frame = plain.index(b"\xff\xc0")
    for name, data in {
        "progressive": large(progressive=True),
        "CMYK": large("CMYK"),
        "small": encode(picture(1)),
        "PNG": encode(picture(1, 0, 600, 700), "PNG"),
        "arithmetic coding": plain[:frame] + b"\xff\xc9" + plain[frame + 2 :],
        "12 bits": plain[: frame + 4] + b"\x0c" + plain[frame + 5 :],
        "no height": plain[: frame + 5] + b"\0\0" + plain[frame + 7 :],
        "a scan of one component": plain[: scan + 4] + b"\x01" + plain[scan + 5 :],
        "stray bytes": plain[:frame] + b"\0" + plain[frame:],
        "two frames": plain[:scan] + plain[frame : frame + 19] + plain[scan:],
        "no scan": plain[:scan],
        "no end": plain[:-2],
        "nothing": b"",
        "the start alone": b"\xff\xd8",
    }.items():
        assert decoder.size(data) is None, name


def test_a_header_cut_anywhere_is_none_and_no_crash() -> None:
    """Every length is followed only as far as there are bytes."""
    data = large()
    for end in range(data.index(b"\xff\xda") + 20):
        assert partial_jpeg.frame_of(data[:end]) is None, end
        partial_jpeg.frame_of(data[:end] + b"\xff\xd9")


def test_limits_hold_before_anything_is_decoded() -> None:
    """The refusal is the one that decoding it all would give."""
    decoder, data = Decoder("rgb", max_megapixels=0.4), large()
    reasons = set()
    for call in (decoder.size, decoder.decode):
        with pytest.raises(ItemError, match=r"the limit is 0\.4 ") as caught:
            call(data)
        reasons.add(str(caught.value))
    assert 1 == len(reasons)


# damage


def test_damage_counts_down_to_the_boxes_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data lost above or beside the boxes is named as for the whole file; what lies below is not looked at."""
    data = large(quality=95)
    broken = data[: len(data) // 2] + data[-2:]
    decoder = Decoder("rgb")
    with pytest.raises(ItemError) as caught:
        decoder.decode(broken)
    for extension in (EXTENSION, None):
        monkeypatch.setattr(partial_jpeg, "_EXTENSION", extension)
        assert decoder.size(broken) == (600, 700)
        upper, lower = [Box(100, 300, 50, 50)], [Box(400, 0, 50, 50)]
        assert same(decode_jpeg(data, "RGB"), decoder.decode_parts(broken, upper), upper)
        assert decoder.size(broken) == (600, 700)
        with pytest.raises(ItemError) as partly:
            decoder.decode_parts(broken, lower)
        assert str(caught.value) == str(partly.value)


def test_harmless_oddities_give_the_same_pixels() -> None:
    """Bytes after the end, and a comment full of markers, change nothing."""
    data, boxes = large(), [Box(250, 100, 30, 30)]
    expected = decode_jpeg(data, "RGB")
    for odd in (data + b"trailing" * 100, data + data, large(comment=b"\xff\xc0\xff\xda\xff\xd9" * 1000)):
        decoder = Decoder("rgb")
        assert decoder.size(odd) == (600, 700)
        assert same(expected, decoder.decode_parts(odd, boxes), boxes)


def mutants(count: int) -> list[bytes]:
    """Return damaged JPEGs, most of them in the entropy-coded data, that still have an end."""
    rng, found = random.Random(20_261_121), []
    originals = [jpeg(61, 83, each) for each in SUBSAMPLINGS]
    originals += [encode(picture(3, 0, 61, 83), subsampling=each, restart_marker_blocks=3) for each in (0, 1, 2)]
    for _ in range(count):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(2, len(data) - 2)
            data[at : at + rng.choice((0, 1, 1, 4))] = rng.choice((b"\xff", b"\0", b"\xff\xd9", rng.randbytes(2)))
        found.append(bytes(data))
    return found


@needs_extension
def test_both_ways_judge_damaged_files_alike() -> None:
    """Else a stream's bytes would depend on the host."""
    rng, accepted, refused = random.Random(5), 0, 0
    for data in mutants(4000):
        frame = partial_jpeg.frame_of(data)
        if frame is None or frame.height * frame.width > 1_000_000:
            continue
        top, left = rng.randrange(frame.height), rng.randrange(frame.width)
        boxes = [Box(top, left, rng.randint(1, frame.height - top), rng.randint(1, frame.width - left))]
        found, other = parts(by_extension, data, boxes), parts(by_top_rows, data, boxes)
        assert (found is None) == (other is None)
        if found is None or other is None:
            refused += 1
        else:
            accepted += 1
            assert same(found, other, boxes)
    assert min(accepted, refused) > 300, (accepted, refused)


def test_hostile_and_damaged_files_have_one_fate(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without the extension: the same pixels, or the same words."""
    files = [file.read_bytes() for file in sorted((shared_data / "odd").iterdir())]
    files += [data[: len(data) * part // 7] + data[-2:] for data in (large(), large(quality=98)) for part in range(7)]
    decoder, seen = Decoder("rgb", exif_orientation=True), 0
    for data in files:
        fates = []
        for extension in (EXTENSION, None):
            monkeypatch.setattr(partial_jpeg, "_EXTENSION", extension)
            try:
                size = decoder.size(data)
                boxes = [Box(size[0] // 3, size[1] // 3, 30, 30)] if size else []
                fates.append(decoder.decode_parts(data, boxes)[boxes[0].slices].tolist() if boxes else "whole")
            except ItemError as error:
                fates.append(str(error))
            seen += fates[-1] != "whole"
        assert fates[0] == fates[1]
    assert seen > 10


# the extension's own guard


@needs_extension
@pytest.mark.parametrize(
    "box",
    [(-1, 0, 2, 2), (0, -1, 2, 2), (0, 0, 0, 2), (0, 0, 2, 0), (60, 0, 2, 2), (0, 82, 2, 2), (0, 0, 2**31 - 1, 2)],
)
def test_the_extension_refuses_boxes_outside_of_the_rows(box: tuple[int, int, int, int]) -> None:
    """Memory safety rests on this check alone, so it does not trust the caller."""
    data = jpeg(61, 83)
    out = np.zeros((61, 83, 3), np.uint8)
    at = frame_of(data).height_at
    with pytest.raises(ValueError, match="must lie inside"):
        EXTENSION.regions(data, at, 61, 83, np.array([box], np.int32), out, 3)


@needs_extension
def test_the_extension_refuses_too_little_room_and_another_size() -> None:
    """The output, the number of channels, the place of the height, and the size are checked against the file."""
    data = jpeg(61, 83)
    at = frame_of(data).height_at
    box, out = np.array([(0, 0, 10, 10)], np.int32), np.zeros(61 * 83 * 3, np.uint8)
    assert EXTENSION.regions(data, at, 61, 83, box, out, 3) is None
    for arguments in (
        (data, at, 61, 83, box, out[1:], 3),
        (data, at, 61, 83, box[:0], out, 3),
        (data, at, 61, 83, box, out, 4),
        (data, at, 0, 83, box, out, 3),
        (data, at, 70_000, 83, box, out, 3),
        (data, len(data), 61, 83, box, out, 3),
        (data, -1, 61, 83, box, out, 3),
    ):
        with pytest.raises(ValueError, match="must"):
            EXTENSION.regions(*arguments)
    assert "not the size that was told" == EXTENSION.regions(data, at, 61, 82, box, out, 3)
    assert "not baseline" == EXTENSION.regions(large(progressive=True), at, 61, 83, box, out, 3)


def test_the_way_that_is_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """For `penstock check`, so that nobody wonders why one host is slower."""
    monkeypatch.setattr(partial_jpeg, "_EXTENSION", None)
    assert "no extension" in partial_jpeg.describe()
    if EXTENSION is not None:
        monkeypatch.setattr(partial_jpeg, "_EXTENSION", EXTENSION)
        assert "libjpeg-turbo" in partial_jpeg.describe()
