"""Bytes of one image file to uint8 pixels: owns formats, limits, colours, orientation and the words for damage.

Refuses to know files, patches and what the pixels are for.

JPEGs go to libjpeg-turbo through simplejpeg, which stops at the first warning; what it refuses, and every other format,
goes to Pillow; what Pillow refuses is an ItemError. Where both decode, they give the same bytes. Rules:

- The header's size is checked before a pixel is allocated, and the work that a progressive JPEG asks for as well.
- A truncated file, or a JPEG with lost entropy-coded data, is a failure: never an image with a grey rest.
- Colours are what Pillow's `convert` makes of them: alpha is dropped, palettes are looked up, CMYK is inverted. Of
  16-bit samples the high byte is taken, as Pillow itself does for 16-bit RGB; 32-bit samples are refused.
- Orientation is applied if asked for; that of a TIFF, which is part of the format, always, as Pillow does.
- `gray` of a JPEG is its own luma (Pillow's `draft("L")`), decoded without the chroma; it may differ by a level or two
  from `convert("L")` of the RGB pixels, which rounds twice.
"""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image, UnidentifiedImageError

from penstock.protocol.errors import ItemError

Pixels = npt.NDArray[np.uint8]

#: Formats that are tried, by content, and no others: some of Pillow's plugins start programs (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
for _plugin in (
    "Jpeg",
    "Png",
    "WebP",
    "Bmp",
    "Gif",
    "Tiff",
    "Ppm",
):  # else the first WebP or TIFF file imports them all
    import_module(f"PIL.{_plugin}ImagePlugin")
#: A decoder keeps its output buffer up to this size (bytes; 21 megapixels of RGB): fresh pages cost 9 % of a decode.
SCRATCH_BYTES = 64_000_000
#: Passes over all its pixels that a JPEG of `max_megapixels` may ask for; a smaller one may ask for as much work.
#: Encoders write about 10 scans; a hostile file of 1 MB can hold 100,000, each of them a pass.
MAX_SCANS = 50
#: The shortest scan there is (bytes): marker, length, one component, band.
_SCAN_BYTES = 10

_UNKNOWN = f"not an image of a known format ({', '.join(FORMATS)})"
_JPEG = b"\xff\xd8"
_ORIENTATION = 0x0112
# libjpeg's warnings (jerror.h) that mean lost pixels; the others (stray bytes, odd versions) are harmless.
_LOST = (
    "Corrupt JPEG data: premature end of data segment",
    "Corrupt JPEG data: bad Huffman code",
    "Corrupt JPEG data: bad arithmetic code",
    "Corrupt JPEG data: found marker",
)
# What Pillow and its C libraries raise on damaged files. Fuzzing every format met the first three; the others stand in
# Pillow's own sources and issues.
_REFUSALS = (
    OSError,  # UnidentifiedImageError too
    ValueError,
    SyntaxError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    struct.error,
    zlib.error,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    MemoryError,
    Image.DecompressionBombError,
)


class Decoder:
    """Decodes images one after the other; for use by one thread at a time."""

    def __init__(
        self, color: Literal["rgb", "gray"], *, exif_orientation: bool = False, max_megapixels: float = 200.0
    ) -> None:
        """Take the settings of the spec's Transform."""
        self._gray = color == "gray"
        self._exif_orientation = exif_orientation
        self._max_pixels = int(max_megapixels * 1e6)
        self._scratch: Pixels = np.empty(0, np.uint8)
        _prepare_pillow(self._max_pixels)

    def decode(self, data: bytes) -> Pixels:
        """Return the image's pixels (height, width, channels), C-contiguous, maybe read-only.

        They stay valid until the next call: the buffer is used again. Raises ItemError.
        """
        refusal = ""
        if data.startswith(_JPEG):
            pixels = self._decode_jpeg(data)
            if not isinstance(pixels, str):
                return _turn(pixels, _jpeg_orientation(data)) if self._exif_orientation else pixels
            refusal = pixels
        return self._decode_other(data, refusal)

    def _decode_jpeg(self, data: bytes) -> Pixels | str:
        """Return the pixels, or libjpeg's words if it refuses the file."""
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError as error:
            return str(error).removeprefix("tjDecompressHeader3(): ")
        if space in ("CMYK", "YCCK"):
            return "not asked, the colours are CMYK"
        height, width = int(height), int(width)
        self._check_size(height, width)
        if len(data) // _SCAN_BYTES * height * width > MAX_SCANS * self._max_pixels and not _is_sequential(data):
            self._check_scans(data, height * width)
        buffer = self._buffer(height * width * (1 if self._gray else 3))
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(data, "GRAY" if self._gray else "RGB", buffer=buffer)
        except ValueError as error:
            if str(error).startswith(_LOST):
                raise ItemError(f"damaged JPEG, pixels are lost: {error}") from error
            return str(error)
        except MemoryError as error:
            raise ItemError(f"not enough memory to decode {width} × {height} pixels") from error
        return pixels

    def _decode_other(self, data: bytes, refusal: str) -> Pixels:
        """Decode by Pillow; `refusal` is what libjpeg said."""
        with self._named(data, refusal):
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        self._check_size(image.height, image.width)
        if data.startswith(_JPEG):
            self._check_scans(data, image.height * image.width)
        with self._named(data, refusal):
            if self._gray and image.format in ("JPEG", "MPO"):
                image.draft("L", image.size)
            image.load()
        pixels = self._convert(image, data)
        return _turn(pixels, _orientation(image)) if self._exif_orientation else pixels

    def _convert(self, image: Image.Image, data: bytes) -> Pixels:
        if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
            raise ItemError(
                f"pixels of 32 bits (Pillow mode {image.mode!r}) have no fixed range: store 8 or 16 bits a channel"
            )
        with self._named(data, ""):
            if image.mode == "I" or image.mode.startswith("I;16"):
                deep: npt.NDArray[Any] = np.asarray(image)
                gray = (np.clip(deep, 0, 65_535) >> 8).astype(np.uint8)[..., np.newaxis]
                return gray if self._gray else np.repeat(gray, 3, axis=2)
            pixels: Pixels = np.asarray(image.convert("L" if self._gray else "RGB"))
            return pixels[..., np.newaxis] if self._gray else pixels

    def _check_size(self, height: int, width: int) -> None:
        if height * width > self._max_pixels:
            raise ItemError(
                f"{width} × {height} pixels is {height * width / 1e6:,.1f} megapixels; "
                f"the limit is {self._max_pixels / 1e6:g} (transform.max_megapixels)"
            )

    def _check_scans(self, data: bytes, pixels: int) -> None:
        scans = data.count(b"\xff\xda")
        if scans * pixels > MAX_SCANS * self._max_pixels:
            raise ItemError(
                f"a JPEG of about {scans} scans over {pixels / 1e6:.1f} megapixels would take too long to decode"
            )

    @contextmanager
    def _named(self, data: bytes, refusal: str) -> Generator[None]:
        """Say in words what a library raised on a damaged file; to be held around the library's calls alone."""
        try:
            yield
        except MemoryError as error:
            raise ItemError("not enough memory to decode it") from error
        except Image.DecompressionBombError as error:
            raise ItemError(
                f"its header asks for far more than {self._max_pixels / 1e6:g} megapixels (transform.max_megapixels)"
            ) from error
        except UnidentifiedImageError as error:  # its own words hold a memory address
            reason = f"damaged JPEG: {refusal}" if refusal else f"{_UNKNOWN}: it begins with {data[:16]!r}"
            raise ItemError(reason) from error
        except _REFUSALS as error:
            words = str(error) or type(error).__name__
            reason = f"damaged JPEG: {words} (libjpeg: {refusal})" if refusal else f"damaged image: {words}"
            raise ItemError(reason) from error

    def _buffer(self, size: int) -> Pixels:
        if size > self._scratch.size:
            try:
                fresh = np.empty(size, np.uint8)
            except MemoryError as error:
                raise ItemError(f"not enough memory for {size} bytes of pixels") from error
            if size > SCRATCH_BYTES:
                return fresh
            self._scratch = fresh
        return self._scratch[:size]


def _prepare_pillow(max_pixels: int) -> None:
    """Fit Pillow's process-wide settings to decoders that check sizes and name failures themselves.

    Its guard against decompression bombs stays as a second line, never stricter than the largest limit of any decoder;
    its warnings (damaged EXIF, odd palettes) would end up on a worker's standard error without the file's name.
    """
    with _PREPARING:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
        warnings.filterwarnings("ignore", module=r"(PIL|penstock\.worker\.decode)\b")


_PREPARING = threading.Lock()


def _is_sequential(data: bytes) -> bool:
    """Tell whether a JPEG is surely a baseline or extended sequential one, whose work is bounded by its bytes.

    Walks the markers up to the frame header (SOF0 or SOF1). libjpeg refuses a second frame header.
    """
    at = len(_JPEG)
    while data[at : at + 1] == b"\xff":
        marker = data[at + 1 : at + 2]
        if marker in (b"\xc0", b"\xc1"):
            return True
        if marker not in _SEGMENTS:
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


# Markers that may stand before the frame header: tables, application data, comments.
_SEGMENTS = frozenset(bytes([marker]) for marker in (0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE))


def _jpeg_orientation(data: bytes) -> int:
    if b"Exif\0\0" not in data and b"tiff:Orientation" not in data:
        return 1
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
    except _REFUSALS:
        return 1
    return _orientation(image)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (as stored) if it is missing, damaged or meaningless."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except _REFUSALS:
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


_TURNS: dict[int, Callable[[Pixels], Any]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    if orientation == 1:
        return pixels
    turned: Pixels = _TURNS[orientation](pixels)
    return turned.reshape(*turned.shape[:2], pixels.shape[2])  # OpenCV may drop the axis of a single channel
