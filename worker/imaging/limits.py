"""How large an image of each format may be, how much memory decoding it takes, and how much work a JPEG may ask for.

Formats differ: WebP's decoder keeps two canvases and copies the result, JPEG 2000's keeps every sample in 32 bits. So
that one limit on pixels bounds the memory of all, such formats may have a share of it.
"""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.partial_jpeg import FRAMES, SEGMENTS


@dataclass(frozen=True, slots=True)
class Cost:
    """What decoding a format takes."""

    #: Memory (bytes a pixel) at the peak, for the costliest files of the format, the levels that come out included.
    most: float
    #: The same for usual files.
    usual: float
    #: The part of `max_megapixels` that a large image of the format may have.
    share: float = 1.0


#: By Pillow's name of the format: measured with images of 25 megapixels in three channels, rounded up. JPEG: baseline,
#: and a progressive CMYK file without subsampling, whose coefficients are kept. JPEG 2000: both processes.
COSTS = {
    "JPEG": Cost(most=16.0, usual=6.0),
    "MPO": Cost(most=16.0, usual=6.0),
    "PNG": Cost(most=8.0, usual=8.0),
    "BMP": Cost(most=8.0, usual=8.0),
    "GIF": Cost(most=8.0, usual=5.0),
    "PPM": Cost(most=8.0, usual=8.0),
    "TIFF": Cost(most=8.0, usual=8.0),
    "WEBP": Cost(most=17.0, usual=17.0, share=0.5),
    "AVIF": Cost(most=16.0, usual=10.0, share=0.5),
    "JPEG2000": Cost(most=24.0, usual=24.0, share=0.5),
}
#: An image of so many pixels may have any format, if the limit allows it.
_ANY_FORMAT = 16_000_000
#: Of TIFF, a tile may have this many pixels whatever the limit: small images lie in tiles of usual sizes.
_USUAL_TILE = 1 << 22
_TILE_WIDTH, _TILE_HEIGHT = 322, 323

#: Passes over all its pixels that a JPEG of the largest size may ask for; a smaller one may ask for as much work.
#: Encoders write about 10 scans; a hostile file of 1 MB can hold 100,000, each of them a pass.
_MOST_SCANS = 50
#: The shortest scan there is (bytes): marker, length, one component, band.
_SCAN_BYTES = 10


def usual_bytes(image_format: str | None, pixels: int) -> int:
    """Return how much memory decoding a usual image of so many pixels takes."""
    cost = COSTS.get(image_format or "", COSTS["PNG"])
    return int(cost.usual * pixels)


def most_bytes(image_format: str, max_pixels: int) -> int:
    """Return how much memory the largest image of a format that is not refused can take."""
    return int(COSTS[image_format].most * _most_pixels(max_pixels, COSTS[image_format].share))


def _most_pixels(max_pixels: int, share: float) -> int:
    return min(max_pixels, max(_ANY_FORMAT, int(max_pixels * share)))


def check_size(height: int, width: int, max_pixels: int, image_format: str | None = None) -> None:
    """Raise ItemError if an image has more pixels than its format may have."""
    most = _most_pixels(max_pixels, COSTS[image_format].share if image_format in COSTS else 1.0)
    if height * width <= most:
        return
    words = f"{width} × {height} pixels is {height * width / 1e6:,.1f} megapixels; the limit is {max_pixels / 1e6:g}"
    if most < max_pixels:
        words += f", and for {image_format}, which takes more memory, {most / 1e6:g}"
    raise ItemError(f"{words} (transform.max_megapixels)")


def check_tiles(image: Image.Image, max_pixels: int) -> None:
    """Raise ItemError if a TIFF's tiles are larger than an image may be: each is decoded as a whole."""
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None or not tags.get(_TILE_WIDTH) or not tags.get(_TILE_HEIGHT):
        return
    width, height = int(tags[_TILE_WIDTH]), int(tags[_TILE_HEIGHT])
    if width * height > max(max_pixels, _USUAL_TILE):
        raise ItemError(
            f"a TIFF in tiles of {width} × {height} pixels, each {width * height / 1e6:,.1f} megapixels; the limit is "
            f"{max_pixels / 1e6:g} (transform.max_megapixels)"
        )


def check_scans(data: bytes, pixels: int, max_pixels: int, *, sequential: bool) -> None:
    """Raise ItemError if a JPEG of so many pixels asks for far more passes over them than encoders write.

    `sequential`: whether the scans of files that surely are sequential count too.
    """
    most = _MOST_SCANS * max_pixels
    if not sequential and (len(data) // _SCAN_BYTES * pixels <= most or _is_sequential(data)):
        return
    scans = data.count(b"\xff\xda")
    if scans * pixels > most:
        raise ItemError(
            f"a JPEG of about {scans} scans over {pixels / 1e6:.1f} megapixels would take too long to decode"
        )


def _is_sequential(data: bytes) -> bool:
    """Tell whether a JPEG is surely a baseline or extended sequential one, whose work is bounded by its bytes.

    Walks the markers up to the frame header (SOF0 or SOF1). libjpeg refuses a second frame header.
    """
    at = 2
    while len(data) >= at + 2 and data[at] == 0xFF:  # noqa: PLR2004 - a marker
        if data[at + 1] in FRAMES:
            return True
        if data[at + 1] not in SEGMENTS:
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False
