"""Decodes parts of a baseline JPEG without decoding all of it.

Returns None for any unusual file; the caller then decodes the whole image. The caller also handles size limits,
orientation and errors. The rule that keeps a stream's bytes the same on every host:

    Rows from the top to one iMCU row (8 or 16 lines) below the lowest box are entropy-decoded, to the next restart
    marker that ends a row if the file has them, and any damage there that libjpeg notices means None. What lies below
    is not decoded; without restart markers it must hold no marker but the image's end. Boxes that reach into the last
    tenth of the rows have the whole file decoded.

Both ways of doing it hold to the rule and give the same pixels as decoding the whole file:

- Everywhere: a copy of the file whose header claims only those rows is decoded by simplejpeg, at full width.
- Where the extension `_jpeg_regions` was compiled: it passes over the entropy-coded data of what is not needed, and
  libjpeg-turbo does the inverse DCT and the colours around the boxes only.
"""

import importlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Window

Pixels = npt.NDArray[np.uint8]

#: Images below this many pixels are decoded whole: what a header costs twice is then as much as what is saved.
MIN_PIXELS = 250_000
#: Samples of a line or column of one block.
_BLOCK = 8

_SOI, _EOI, _SOS, _DRI = b"\xff\xd8", b"\xff\xd9", 0xDA, 0xDD
#: Baseline and extended sequential, both Huffman-coded. Progressive and arithmetic-coded files gain little or nothing.
FRAMES = (0xC0, 0xC1)
#: Tables, application data, comments: what may stand before the frame header and before the scan.
SEGMENTS = frozenset((0xC4, 0xDB, _DRI, *range(0xE0, 0xF0), 0xFE))
# In entropy-coded data 0xff is data if 0 follows, else the first byte of a marker.
_MARKER = re.compile(rb"\xff[^\x00]")
# What libjpeg says of data that is left over before the image's end; and simplejpeg, when all has been decoded.
_LEFT_OVER = re.compile(r".*\b\d+ extraneous bytes before marker 0xd9")


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def of(cls, window: Window) -> Self:
        """Return a window as a box."""
        return cls(window.y, window.x, window.height, window.width)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box's pixels in an image's."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True, slots=True)
class Frame:
    """What must be known of a JPEG to decode a part of it."""

    height: int
    width: int
    #: Byte of the file where the height stands, two bytes.
    height_at: int
    #: Lines and columns of an iMCU, which here is an MCU: the largest sampling factors times eight.
    unit_height: int
    unit_width: int
    #: MCUs between restart markers; 0 without such markers.
    interval: int = 0
    #: First byte of the entropy-coded data.
    data_at: int = 0

    def rows(self, boxes: Sequence[Box]) -> int:
        """Return how many rows, from the top, the boxes need; the margin is for the upsampling of the chroma."""
        bottom = max(box.top + box.height for box in boxes)
        units = -(-bottom // self.unit_height) + 1
        if self.interval:  # to where a row of MCUs and a restart interval end together
            step = self.interval // math.gcd(self.interval, self._row_units)
            units = -(-units // step) * step
        rows = units * self.unit_height
        return rows if 10 * rows < 9 * self.height else self.height

    def end(self, data: bytes, rows: int) -> int | None:
        """Return where a copy of the file with fewer rows may end, or None if there are markers that do not belong."""
        if not self.interval:
            found = _MARKER.search(data, self.data_at)
            return found.end() if found and found[0] == _EOI else None
        part = np.frombuffer(data, np.uint8, offset=self.data_at)
        places = np.flatnonzero(part[:-1] == _EOI[0])
        places = places[part[places + 1] != 0]
        count = rows // self.unit_height * self._row_units // self.interval
        if count > len(places) or np.any(part[places[:count] + 1] != 0xD0 + np.arange(count) % 8):  # RST0 to RST7
            return None
        return self.data_at + int(places[count - 1])

    @property
    def _row_units(self) -> int:
        return -(-self.width // self.unit_width)


def load_extension() -> Any:  # noqa: ANN401 - a compiled module
    """Return the compiled extension, or None where it was not built or its libjpeg-turbo is missing."""
    try:
        return importlib.import_module("penstock.worker.imaging._jpeg_regions")
    except ImportError:
        return None


_EXTENSION = load_extension()


def describe() -> str:
    """Say which way parts of JPEGs are decoded on this host."""
    if _EXTENSION is None:
        return "down to the lowest patch, at full width (no extension: install with a C compiler and libjpeg-turbo)"
    return f"around the patches only (compiled extension, {_EXTENSION.LIBRARY})"


def frame_of(data: bytes) -> Frame | None:
    """Return the frame of a JPEG that can be decoded in part: 8 bits, Huffman-coded, one scan of all components."""
    frame, components, interval, at = None, 0, 0, len(_SOI)
    if not data.startswith(_SOI):
        return None
    while len(data) >= at + 4 and data[at] == 0xFF:  # noqa: PLR2004 - a marker and its length
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SOS:
            data_at = at + 2 + length
            if frame is None or data[at + 4 : at + 5] != bytes([components]) or data.rfind(_EOI, data_at) < 0:
                return None
            return replace(frame, interval=interval, data_at=data_at)
        if marker in FRAMES and frame is None:
            components = data[at + 9] if len(data) > at + 9 else 0
            frame = _parse(data, at, components)
            if frame is None:
                return None
        elif marker not in SEGMENTS:
            return None
        elif marker == _DRI:
            interval = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 2 + length
    return None


def _parse(data: bytes, at: int, components: int) -> Frame | None:
    """Read the frame header at a marker: length, precision, height, width, components and their sampling factors."""
    factors = data[at + 11 : at + 11 + 3 * components : 3]
    height, width = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
    if components not in (1, 3) or len(factors) != components or data[at + 4] != _BLOCK or not height or not width:
        return None
    unit_height, unit_width = max(each & 15 for each in factors), max(each >> 4 for each in factors)
    if not (1 <= unit_height <= 4 and 1 <= unit_width <= 4):  # noqa: PLR2004 - ITU-T T.81, table B.2
        return None
    if components == 1 and (unit_height, unit_width) != (1, 1):  # an MCU is one block then, whatever the factors
        return None
    return Frame(height, width, at + 5, _BLOCK * unit_height, _BLOCK * unit_width)


def decode_boxes(data: bytes, frame: Frame, boxes: Sequence[Box], out: Pixels) -> bool:
    """Write the pixels of the boxes, which lie inside the frame, to their places in `out`: height, width, channels.

    Other places may hold anything afterwards. False if the rows that count are damaged or unusual.
    """
    return decode_reduced(data, frame, boxes, out, 1)


def decode_reduced(data: bytes, frame: Frame, boxes: Sequence[Box], out: Pixels, reduction: int) -> bool:
    """Do the work of `decode_boxes` at 1/`reduction` of the size (1, 2, 4 or 8), which `out` has."""
    rows = frame.rows(boxes)
    end = len(data) if rows == frame.height else frame.end(data, rows)
    if end is None:
        return False
    if _EXTENSION is not None and by_extension(data, frame, boxes, out, reduction):
        return True
    return by_top_rows(data, frame, end, out[: -(-rows // reduction)], rows if reduction > 1 else None)


def decode_whole(data: bytes, out: Pixels, reduction: int = 1) -> bool:
    """Decode all of a JPEG at 1/`reduction` of its size (1, 2, 4 or 8), which `out` has; False if it is not done here.

    Then another decoder has to do it, and to judge the file: what is decoded here has no flaw.
    """
    if _EXTENSION is None:
        return False
    frame = frame_of(data)
    if frame is None or out.shape[:2] != (-(-frame.height // reduction), -(-frame.width // reduction)):
        return False
    return by_extension(data, frame, [Box(0, 0, frame.height, frame.width)], out, reduction, 2)


def by_extension(
    data: bytes, frame: Frame, boxes: Sequence[Box], out: Pixels, reduction: int = 1, by_libjpeg: int = 0
) -> bool:
    """Do the work of `decode_reduced` by the extension; False if libjpeg has as much as a warning.

    With a `by_libjpeg` of 1 (for tests) libjpeg decodes the entropy-coded data; with 2 it does not do so where our own
    decoder gives up.
    """
    rows, parts = frame.rows(boxes), np.array([_reduced(box, reduction) for box in boxes], np.int32)
    place, channels = frame.height_at, out.shape[2]
    words = _EXTENSION.regions(data, place, rows, frame.width, parts, out, channels, reduction, by_libjpeg)
    return words is None


def _reduced(box: Box, reduction: int) -> Box:
    """Return the pixels of the reduced image that hold some of a box."""
    top, left = box.top // reduction, box.left // reduction
    bottom, right = -(-(box.top + box.height) // reduction), -(-(box.left + box.width) // reduction)
    return Box(top, left, bottom - top, right - left)


def by_top_rows(data: bytes, frame: Frame, end: int, out: Pixels, of: int | None = None) -> bool:
    """Decode as many of the first rows as `out` has; tell whether they are undamaged. With `of`, they are reduced rows.

    This is done by a copy of the file, up to `end`, whose header claims no more rows. Of data that is left over libjpeg
    complains when it has all the rows; simplejpeg raises what libjpeg said first, so there was no damage before that.
    """
    rows = out.shape[0] if of is None else of
    file: bytes | bytearray = data
    try:
        if rows < frame.height:
            file = bytearray(data[:end] if data[end - 2 : end] == _EOI else data[:end] + _EOI)
            file[frame.height_at : frame.height_at + 2] = rows.to_bytes(2, "big")
        space = "GRAY" if out.shape[2] == 1 else "RGB"
        simplejpeg.decode_jpeg(file, space, min_height=out.shape[0], min_width=out.shape[1], buffer=out)
    except ValueError as error:
        return rows < frame.height and _LEFT_OVER.fullmatch(str(error)) is not None
    except MemoryError as error:
        if of is not None:  # all of it, at its full size, would be other bytes
            raise ItemError("there is not enough memory to decode the image at a part of its size") from error
        return False
    return True
