"""JPEGs for tests of partial decoding, and the two ways that decode a part of one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from simplejpeg import encode_jpeg  # type: ignore[import-untyped]
from support.images import Pixels, encode, picture

from penstock.worker.imaging import partial_jpeg
from penstock.worker.imaging.compiled import planes
from penstock.worker.imaging.partial_jpeg import Box, Frame

EXTENSION = partial_jpeg.load_extension()
needs_extension = pytest.mark.skipif(EXTENSION is None, reason="the extension _jpeg_regions was not built here")
needs_planes = pytest.mark.skipif(planes.EXTENSION is None, reason="JPEGs are not decoded to planes on this host")
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


def parts_by(data: bytes, boxes: list[Box], channels: int, reduction: int, by_libjpeg: int) -> Pixels | None:
    """Return a reduced image of which only the boxes were asked for, or None if the extension refuses the file.

    With `by_libjpeg` 1 the entropy-coded data is decoded by libjpeg, with 2 by our own decoder and no other.
    """
    frame = frame_of(data)
    rows = frame.rows(boxes)
    if rows < frame.height and frame.end(data, rows) is None:
        return None
    out = np.full((-(-frame.height // reduction), -(-frame.width // reduction), channels), 93, np.uint8)
    return out if partial_jpeg.by_extension(data, frame, boxes, out, reduction, by_libjpeg) else None


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


def large(mode: str = "RGB", **options: Any) -> bytes:
    """Return a JPEG that is large enough to be decoded in part."""
    return encode(Image.fromarray(picture(3, 1, 600, 700)).convert(mode), **options)
