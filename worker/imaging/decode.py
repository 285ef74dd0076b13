"""Decodes the bytes of one image file to uint8 pixels.

`partial_jpeg.py` decodes parts of a JPEG, `levels.py` reduces other depths to 8 bits, and `limits.py` bounds memory.

JPEGs go to libjpeg-turbo through simplejpeg, which refuses whatever libjpeg warns of; those without a flaw, unless they
are small, through our extension (`partial_jpeg.py`, `compiled/planes.py`), which is faster. What simplejpeg refuses,
and every other format, goes to Pillow; what Pillow refuses is an ItemError. Where several decode, they give the same
bytes.
JPEG 2000 is decoded in a process of its own (`jpeg2000/process.py`). Rules:

- The header's size is checked before a pixel is allocated, and the work that a progressive JPEG asks for as well.
- A truncated file, or a JPEG with lost entropy-coded data, is a failure: never an image with a grey rest.
- Checksums that say that pixels are wrong quarantine the file where checking costs under 2 % of decoding: PNG's. TIFF's
  deflate and WebP have none that can be checked without decoding twice.
- What pixels do not need (profiles, text, comments) never fails a file.
- Colours are what Pillow's `convert` makes of them: alpha is dropped (`rgba`: kept, or 255), palettes are looked up,
  CMYK is inverted. Of samples of 9 to 16 bits the highest 8 are taken, as Pillow itself does for 16-bit RGB; samples of
  fewer than 8 bits are scaled; signed ones, floats and those of 32 bits are refused.
- Orientation is applied if asked for; that of a TIFF, which is part of the format, always, as Pillow does.
- Boxes of a large baseline JPEG may be asked for without the rest; then damage below the lowest of them goes unseen,
  on every host alike. Their pixels are those of the whole image.
- A JPEG may be decoded at a half, a quarter or an eighth of its size (libjpeg's scaled inverse DCT), which depends on
  its header and the size that is asked for, never on the host.
- `gray` of a JPEG is its own luma (Pillow's `draft("L")`), decoded without the chroma; it may differ by a level or two
  from `convert("L")` of the RGB pixels, which rounds twice.
"""

import io
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image, UnidentifiedImageError

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.axes import CHANNELS
from penstock.protocol.spec.operation import Size
from penstock.sources.image_formats import FORMATS
from penstock.worker.imaging import png
from penstock.worker.imaging.compiled.planes import EXTENSION, PlaneDecoder, Windows
from penstock.worker.imaging.jpeg2000.decode import deep_image, header_of
from penstock.worker.imaging.jpeg2000.process import DecoderProcess
from penstock.worker.imaging.levels import check_samples, to_levels
from penstock.worker.imaging.limits import check_scans, check_size, check_tiles
from penstock.worker.imaging.orientation import jpeg_orientation, orientation_of, stored_box, turn, turned_size
from penstock.worker.imaging.partial_jpeg import (
    MIN_PIXELS,
    Box,
    Frame,
    decode_boxes,
    decode_reduced,
    decode_whole,
    frame_of,
)
from penstock.worker.imaging.pillow import REFUSALS, prepare_pillow, refusal_of
from penstock.worker.imaging.signatures import looks_like

Pixels = npt.NDArray[np.uint8]

#: A decoder keeps its output buffer up to this size (bytes; 21 megapixels of RGB): fresh pages cost 9 % of a decode.
SCRATCH_BYTES = 64_000_000
#: Pixels of a picture of which planes are made, at most: a decoder keeps these too, in half as much memory.
_MOST_PLANES = SCRATCH_BYTES // 3
#: JPEGs of fewer pixels, with halved colours and any others, take simplejpeg less time than the extension.
MIN_PLANES, MIN_WHOLE = 25_000, 50_000

_UNKNOWN = f"not an image of a known format ({', '.join(FORMATS)})"
_JPEG = b"\xff\xd8"
#: What simplejpeg calls images of so many channels.
_SPACES = {1: "GRAY", 3: "RGB", 4: "RGBA"}
# libjpeg's warnings (jerror.h) that mean lost pixels; the others (stray bytes, odd versions) are harmless.
_LOST = (
    "Corrupt JPEG data: premature end of data segment",
    "Corrupt JPEG data: bad Huffman code",
    "Corrupt JPEG data: bad arithmetic code",
    "Corrupt JPEG data: found marker",
)


class Decoder:
    """Decodes images one after the other; for use by one thread at a time."""

    def __init__(
        self,
        color: Literal["rgb", "gray", "rgba"],
        *,
        exif_orientation: bool = False,
        max_megapixels: float = 100.0,
        apart: bool = True,
    ) -> None:
        """Take the settings of the spec's Transform; `apart`: JPEG 2000 is decoded in another process."""
        self._gray, self._alpha = color == "gray", color == "rgba"
        self._channels = CHANNELS[color]
        self._exif_orientation = exif_orientation
        self._max_pixels = int(max_megapixels * 1e6)
        self._scratch: Pixels = np.empty(0, np.uint8)
        #: Decodes JPEGs with halved colours, unless they are very large.
        self._planes = PlaneDecoder(_MOST_PLANES) if EXTENSION is not None and color == "rgb" else None
        #: What `size` found, for the `regions` that follow.
        self._frame: Frame | None = None
        self._turned = 1
        self._process = DecoderProcess(self._channels, exif_orientation=exif_orientation, max_pixels=self._max_pixels)
        self._apart = apart
        prepare_pillow(self._max_pixels)

    def decode(self, data: bytes, least: Size | None = None, windows: Windows | None = None) -> Pixels:
        """Return the image's pixels (height, width, channels), C-contiguous, maybe read-only.

        They stay valid until the next call: the buffer is used again. With `least` (height, width), a JPEG may come at
        a half, a quarter or an eighth of its size, no smaller than that. With `windows`, pixels outside of these may be
        anything; damage is seen wherever it is. Raises ItemError.
        """
        refusal = ""
        if data.startswith(_JPEG):
            orientation = jpeg_orientation(data) if self._exif_orientation else 1
            least = turned_size(*least, orientation) if least else None
            pixels = self._decode_jpeg(data, least, windows if orientation == 1 else None)
            if not isinstance(pixels, str):
                return turn(pixels, orientation)
            refusal = pixels
        return self._decode_other(data, refusal)

    def size(self, data: bytes) -> tuple[int, int] | None:
        """Return the height and width of an image that `decode_parts` may save work with; None for one to `decode`.

        Depends on the file alone, never on the host: a damaged file's fate depends on which of the two is used. Raises
        ItemError.
        """
        self._frame = None
        if self._alpha or not data.startswith(_JPEG):
            return None
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError:
            return None
        if int(height) * int(width) < MIN_PIXELS:
            return None
        frame = frame_of(data)
        if frame is None or (height, width) != (frame.height, frame.width):
            return None
        check_size(frame.height, frame.width, self._max_pixels)
        self._frame, self._turned = frame, jpeg_orientation(data) if self._exif_orientation else 1
        return turned_size(frame.height, frame.width, self._turned)

    def decode_parts(self, data: bytes, boxes: Sequence[Box], reduction: int = 1) -> Pixels:
        """Return what `decode` does, but for the pixels outside of the boxes, which may be anything.

        With a `reduction` of 2, 4 or 8, an undamaged image that is stored upright comes at 1/`reduction` of its size.

        `size` must just have been asked for this image, and every box (at least one) lie inside it. Damage below the
        lowest box, as the image is stored, may go unseen. Raises ItemError.
        """
        frame, orientation = self._frame, self._turned
        assert frame is not None, "size has not been asked for, or was None"  # noqa: S101 - our own mistake
        channels = self._channels
        shape = frame.height, frame.width, channels
        stored = [stored_box(box, frame.height, frame.width, orientation) for box in boxes]
        pixels = self._buffer(frame.height * frame.width * channels).reshape(shape)
        if reduction > 1 and orientation == 1:
            height, width = -(-frame.height // reduction), -(-frame.width // reduction)
            small = pixels.ravel()[: height * width * channels].reshape(height, width, channels)
            return small if decode_reduced(data, frame, stored, small, reduction) else self.decode(data)
        if not decode_boxes(data, frame, stored, pixels):
            return self.decode(data)
        if orientation == 1:
            return pixels
        turned = np.empty((*turned_size(frame.height, frame.width, orientation), channels), np.uint8)
        for box, place in zip(stored, boxes, strict=True):
            turned[place.slices] = turn(pixels[box.slices], orientation)
        return turned

    def _decode_jpeg(self, data: bytes, least: Size | None, windows: Windows | None) -> Pixels | str:
        """Return the pixels, or libjpeg's words if it refuses the file."""
        try:
            height, width, space, sampling = simplejpeg.decode_jpeg_header(data)
        except ValueError as error:
            return str(error).removeprefix("tjDecompressHeader3(): ")
        if space in ("CMYK", "YCCK"):
            return "not asked, the colours are CMYK"
        height, width = int(height), int(width)
        check_size(height, width, self._max_pixels)
        size = height * width
        check_scans(data, size, self._max_pixels, sequential=False)
        reduction = _reduction(height, width, least)
        height, width = -(-height // reduction), -(-width // reduction)
        buffer = self._buffer(height * width * self._channels)
        whole = buffer.reshape(height, width, self._channels)
        if self._planes is not None and sampling == "420" and reduction == 1 and MIN_PLANES <= size <= _MOST_PLANES:
            planes = self._planes.decode(data)
            if planes is not None and (planes.height, planes.width) == (height, width):
                planes.write(windows, whole)
                return whole
        elif size >= MIN_WHOLE and not self._alpha and decode_whole(data, whole, reduction):
            return whole
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(
                data, _SPACES[self._channels], min_height=height, min_width=width, buffer=buffer
            )
        except ValueError as error:
            if str(error).startswith(_LOST):
                raise ItemError(f"damaged JPEG, pixels are lost: {error}") from error
            return str(error)
        except MemoryError as error:
            raise ItemError(f"not enough memory to decode {width} × {height} pixels") from error
        return pixels

    def _decode_other(self, data: bytes, refusal: str) -> Pixels:
        """Decode by Pillow; `refusal` is what libjpeg said."""
        if data.startswith(png.SIGNATURE):
            data = png.without_metadata(data, oriented=self._exif_orientation)
        with self._named(data, refusal):
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        check_size(image.height, image.width, self._max_pixels, image.format)
        check_tiles(image, self._max_pixels)
        check_samples(image)
        depth = 8
        if data.startswith(_JPEG):
            check_scans(data, image.height * image.width, self._max_pixels, sequential=True)
        elif image.format == "JPEG2000":
            header = header_of(data)
            check_size(header.height, header.width, self._max_pixels, image.format)
            depth = header.depth
            if self._apart:
                return self._process.decode(data)
            if depth > 8 and not image.mode.startswith("I;16"):  # noqa: PLR2004 - bits of a level
                pixels = to_levels(deep_image(data, depth), self._channels)
                return turn(pixels, orientation_of(image)) if self._exif_orientation else pixels
        with self._named(data, refusal):
            if self._gray and image.format in ("JPEG", "MPO"):
                image.draft("L", image.size)
            image.load()
            pixels = to_levels(image, self._channels, depth)
        return turn(pixels, orientation_of(image)) if self._exif_orientation else pixels

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
            raise ItemError(f"damaged JPEG: {refusal}" if refusal else _refused(data)) from error
        except REFUSALS as error:
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


def _refused(data: bytes) -> str:
    """Return why Pillow opens a file as no image at all."""
    found = refusal_of(data)
    if found is None:
        return f"{_UNKNOWN}: {looks_like(data)}"
    return f"a {found[0]} file that cannot be decoded: {found[1]}"


def _reduction(height: int, width: int, least: tuple[int, int] | None) -> int:
    """Return the largest of 1, 2, 4, 8 by which the sides may be divided to be no smaller than `least`.

    libjpeg has scales between them, but no SIMD for those: they take longer than the next larger of these.
    """
    if least is not None:
        for divisor in (8, 4, 2):
            if -(-height // divisor) >= least[0] and -(-width // divisor) >= least[1]:
                return divisor
    return 1
