"""JPEG compression as a manipulation, computed for the part of the image that a patch needs."""

import io
from typing import Literal

from pydantic import Field

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Kernel, Manipulation, Pixels, Size, Window

#: Side of a minimum coded unit with 4:2:0 (pixels): blocks of 8, and of 16 for the halved chroma.
_UNIT = 16
#: Longest side of a JPEG that libjpeg writes (pixels).
MAX_SIDE = 65_500
#: Pixels beyond the patch that its decoded pixels depend on: chroma is interpolated between its neighbours.
_REACH = 2


class Jpeg(Manipulation):
    """JPEG compression and decompression: libjpeg's tables for the quality, chroma halved both ways (4:2:0)."""

    kind: Literal["jpeg"]
    """Kind of the manipulation."""
    value: int = Field(ge=1, le=100)
    """Quality, 1 to 100."""

    @property
    def name(self) -> str:
        """Short name, such as `qf70`."""
        return f"qf{self.value}"

    def kernel(self) -> Kernel:
        """Return what computes its patches."""
        return _Recompressed(self.value)


class _Recompressed:
    """Compresses the units that a patch touches, and no others: a unit is coded from its own pixels alone.

    Decoding then interpolates chroma across units, so those of `_REACH` more pixels are coded too. Pillow's encoder is
    used, because the fast DCT of simplejpeg's loses more than the quality asks for.
    """

    def __init__(self, quality: int) -> None:
        self._quality = quality

    def source(self, image: Size, window: Window, /) -> Window:
        top, bottom = _units(window.y, window.height, image[0])
        left, right = _units(window.x, window.width, image[1])
        return Window(top, left, bottom - top, right - left)

    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        source = self.source((pixels.shape[0], pixels.shape[1]), window)
        decoded = recompressed(source.of(pixels), self._quality)
        return Window(window.y - source.y, window.x - source.x, window.height, window.width).of(decoded)


def recompressed(pixels: Pixels, quality: int) -> Pixels:
    """Return what is left of an image after compression as a JPEG. Raises ItemError."""
    import simplejpeg  # type: ignore[import-untyped]
    from PIL import Image

    file, gray = io.BytesIO(), pixels.shape[2] == 1
    try:
        image = Image.fromarray(pixels[..., 0] if gray else pixels)
        image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
        decoded: Pixels = simplejpeg.decode_jpeg(file.getbuffer(), "GRAY" if gray else "RGB")
    except (OSError, ValueError, MemoryError) as error:  # sides beyond `MAX_SIDE`, mostly
        size = f"{pixels.shape[1]} × {pixels.shape[0]}"
        raise ItemError(f"cannot compress {size} pixels as a JPEG of quality {quality}: {error}") from error
    return decoded


def _units(start: int, length: int, side: int) -> tuple[int, int]:
    """Return the [start, stop) of the units along one side that a part of it, and its decoding, depend on.

    At least a whole unit, if the image has one: libjpeg does not interpolate the chroma of images narrower than 5.
    """
    first = max(0, min(start - _REACH, side - _UNIT)) // _UNIT * _UNIT
    return first, min(side, -(-(start + length + _REACH) // _UNIT) * _UNIT)
