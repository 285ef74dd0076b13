"""Reads a JPEG 2000 file's main header, and walks to its end, without decoding it.

OpenJPEG decodes a file that was cut short and leaves the rest grey. Pillow does not scale samples of fewer than 8
bits to the whole range, and rounds those of more until white becomes black (65535 + 128, shifted, is 256, of which 8
bits are 0): colours of more than 8 bits are decoded by OpenCV, which returns them as they are.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from penstock.protocol.errors import ItemError

_CODESTREAM, _BOXES = b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_TILE_PART, _END = 0xFF90, 0xFFD9
_BYTE = 8
#: Components of an image: red, green, blue and alpha.
_MOST_COMPONENTS = 4


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a codestream."""

    height: int
    width: int
    #: Bits of a sample, without its sign: the most of all components.
    depth: int


def header_of(data: bytes) -> Header:
    """Return the header of a whole file. Raises ItemError if the file ends early, or is none that is decoded here."""
    start = _codestream(data)
    size = data[start + 4 : start + 42]
    if len(size) < 38 or data[start : start + 4] != _CODESTREAM:  # noqa: PLR2004 - up to the number of components
        raise ItemError("damaged JPEG 2000 file: it holds no codestream")
    right, bottom, left, top = (int.from_bytes(size[at : at + 4], "big") for at in (4, 8, 12, 16))
    count = int.from_bytes(size[36:38], "big")
    if not 0 < count <= _MOST_COMPONENTS:
        raise ItemError(f"a JPEG 2000 file of {count} components: at most red, green, blue and alpha are decoded")
    depths = [(data[start + 42 + 3 * component] & 0x7F) + 1 for component in range(count)]
    if len(set(depths)) > 1 and max(depths) != _BYTE:
        raise ItemError(f"a JPEG 2000 file whose components have {depths} bits: store all with the same depth")
    _check_end(data, start + 2)
    return Header(max(0, bottom - top), max(0, right - left), max(depths))


def deep_image(data: bytes, depth: int) -> Image.Image:
    """Return an image of more than 8 bits a sample, reduced to the highest 8."""
    try:
        deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ItemError(f"damaged JPEG 2000 file: {error.err}") from error
    if deep is None or deep.dtype != np.uint16:
        raise ItemError(f"a JPEG 2000 file of {depth} bits a sample that cannot be decoded: store 8 bits")
    whole: npt.NDArray[np.uint16] = deep.astype(np.uint16, copy=False)
    levels = (whole >> (depth - _BYTE)).astype(np.uint8)
    if levels.ndim == 3 and levels.shape[2] >= 3:  # noqa: PLR2004 - OpenCV has blue first
        levels = np.ascontiguousarray(levels[..., [2, 1, 0, *range(3, levels.shape[2])]])
    return Image.fromarray(levels)


def _codestream(data: bytes) -> int:
    """Return where the codestream begins: at once, or in a box of its own."""
    at = 0
    while data.startswith(_BOXES) and at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        head = 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind == b"jp2c":
            return at + head
        if length < head:
            break
        at += length
    return 0


def _check_end(data: bytes, at: int) -> None:
    """Walk over the markers and tile-parts from the first marker after the start on. Raises ItemError."""
    while at + 4 <= len(data):
        marker, length = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _END:
            return
        step = 2 + length
        if marker == _TILE_PART:
            step = int.from_bytes(data[at + 6 : at + 10], "big")
            if step == 0 and data.rstrip(b"\0").endswith(_END.to_bytes(2, "big")):
                return  # the last tile-part, which goes on to the end
        if step < 4 or marker < 0xFF00:  # noqa: PLR2004 - no marker, or no length
            break
        at += step
    if data[at : at + 2] != _END.to_bytes(2, "big"):
        raise ItemError(f"damaged JPEG 2000 file: it ends, or goes wrong, before its end marker, at byte {at}")
