"""What `penstock convert` makes of one image: its bytes as they are, or a smaller JPEG."""

import io
from dataclasses import dataclass

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.transform import Transform
from penstock.worker.imaging.decode import Decoder, Pixels
from penstock.worker.imaging.resize import resize_pillow
from penstock.worker.imaging.signatures import looks_like

#: Quality of images that are made smaller, if none is given; and the filter that makes them smaller.
_QUALITY, _FILTER = 90, "lanczos"
#: Longest side (pixels) that libjpeg writes.
_JPEG_SIDE = 65_500
#: Suffixes by the formats' names, as Pillow calls them.
_SUFFIXES = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "GIF": "gif",
    "TIFF": "tif",
    "PPM": "ppm",
    "AVIF": "avif",
    "JPEG2000": "jp2",
}


@dataclass(frozen=True, slots=True)
class Recoding:
    """How images are changed."""

    #: Shorter side (pixels) that larger images are brought to; None: none is made smaller.
    shorter: int | None = None
    #: Quality (1 to 100) of JPEG, in which every image is then written; None: only those that are made smaller.
    quality: int | None = None


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The bytes of an image file, and its suffix without the dot."""

    content: bytes
    suffix: str


class Recoder:
    """Makes the image files of shards; for use by one thread at a time."""

    def __init__(self, transform: Transform, recoding: Recoding) -> None:
        """Take the transform of the stream, which says how images are decoded."""
        self._recoding = recoding
        self._decoder = Decoder(
            "rgb" if transform.color == "rgba" else transform.color,
            # A JPEG that is written anew has no EXIF, so the stream decodes it to the same pixels as before. With
            # the setting off, pixels stay as they lie, as the stream decodes the images that keep their bytes.
            exif_orientation=transform.exif_orientation,
            max_megapixels=transform.max_megapixels,
        )

    def make(self, content: bytes | Pixels) -> ImageFile:
        """Return the file of an image that came as a file, or as pixels. Raises ItemError."""
        recoding = self._recoding
        if isinstance(content, np.ndarray):
            return self._from_pixels(content)
        suffix, size = _suffix_and_size(content)
        smaller = recoding.shorter is not None and min(size) > recoding.shorter
        if not smaller and recoding.quality is None:
            return ImageFile(content, suffix)
        return self._encoded(self._smaller(self._decoder.decode(content)))

    def _from_pixels(self, pixels: Pixels) -> ImageFile:
        made = self._smaller(pixels if pixels.ndim == 3 else pixels[..., np.newaxis])  # noqa: PLR2004 - with channels
        if self._recoding.quality is not None or made.shape != pixels.shape:
            return self._encoded(np.ascontiguousarray(made[..., :3]))
        stream = io.BytesIO()
        Image.fromarray(made[..., 0] if made.shape[2] == 1 else made).save(stream, "PNG")  # every level as it is
        return ImageFile(stream.getvalue(), "png")

    def _smaller(self, pixels: Pixels) -> Pixels:
        """Return an image with the shorter side that was asked for, if it is larger."""
        height, width = pixels.shape[:2]
        shorter = self._recoding.shorter
        if shorter is None or min(height, width) <= shorter:
            return pixels
        scale = shorter / min(height, width)
        return resize_pillow(pixels, _FILTER, (max(shorter, round(height * scale)), max(shorter, round(width * scale))))

    def _encoded(self, pixels: Pixels) -> ImageFile:
        height, width = pixels.shape[:2]
        if max(height, width) > _JPEG_SIDE:
            raise ItemError(f"{width} × {height} pixels: a JPEG has at most {_JPEG_SIDE} a side")
        space = "GRAY" if pixels.shape[2] == 1 else "RGB"
        content = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), self._recoding.quality or _QUALITY, colorspace=space, colorsubsampling="420"
        )
        return ImageFile(bytes(content), "jpg")


def _suffix_and_size(content: bytes) -> tuple[str, tuple[int, int]]:
    """Return the suffix of an image file's format, and its height and width. Raises ItemError."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _SUFFIXES[image.format or ""], (image.height, image.width)
    except (OSError, ValueError, SyntaxError, KeyError, Image.DecompressionBombError) as error:
        raise ItemError(f"not an image of a known format: {looks_like(content)}") from error
