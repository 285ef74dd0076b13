"""Parts of JPEGs: the pixels of the whole image, by both ways of getting them."""

import random
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from simplejpeg import decode_jpeg  # type: ignore[import-untyped]
from support.images import encode, picture
from support.imaging.jpeg_parts import (
    EXTENSION,
    SUBSAMPLINGS,
    Way,
    by_extension,
    by_top_rows,
    frame_of,
    jpeg,
    large,
    needs_extension,
    parts,
    same,
)

from penstock.protocol.errors import ItemError
from penstock.worker.imaging import partial_jpeg
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.partial_jpeg import Box

WAYS = [
    pytest.param(by_top_rows, id="top rows"),
    pytest.param(by_extension, id="extension", marks=needs_extension),
]


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
    """Every length is followed only as far as there are bytes; a whole header is read, whatever follows it."""
    data = large()
    whole = partial_jpeg.frame_of(data)
    assert whole is not None
    for end in range(whole.data_at + 6):
        assert partial_jpeg.frame_of(data[:end]) is None, end
        expected = None if end < whole.data_at else whole
        assert expected == partial_jpeg.frame_of(data[:end] + b"\xff\xd9"), end


def test_limits_hold_before_anything_is_decoded() -> None:
    """The refusal is the one that decoding it all would give."""
    decoder, data = Decoder("rgb", max_megapixels=0.4), large()
    reasons = set()
    for call in (decoder.size, decoder.decode):
        with pytest.raises(ItemError, match=r"the limit is 0\.4 ") as caught:
            call(data)
        reasons.add(str(caught.value))
    assert 1 == len(reasons)


def test_the_way_that_is_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """For `penstock check`, so that nobody wonders why one host is slower."""
    monkeypatch.setattr(partial_jpeg, "_EXTENSION", None)
    assert "no extension" in partial_jpeg.describe()
    if EXTENSION is not None:
        monkeypatch.setattr(partial_jpeg, "_EXTENSION", EXTENSION)
        assert "libjpeg-turbo" in partial_jpeg.describe()
