"""Pillow as the workers use it: the formats it may try, its process-wide settings and the exceptions it raises."""

import io
import struct
import threading
import warnings
import zlib

from PIL import AvifImagePlugin, Image

from penstock.sources.image_formats import FORMATS

#: What Pillow and its C libraries raise on damaged files. Fuzzing every format met the first three; the others stand in
#: Pillow's own sources and issues.
REFUSALS = (
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


def prepare_pillow(max_pixels: int) -> None:
    """Fit Pillow's process-wide settings to decoders that check sizes and name failures themselves.

    Its guard against decompression bombs stays as a second line, never stricter than the largest limit of any decoder;
    its warnings (damaged EXIF, odd palettes) would end up on a worker's standard error without the file's name.
    """
    with _PREPARING:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
        warnings.filterwarnings("ignore", module=r"(PIL|penstock\.worker\.imaging)\b")
        if "AVIF" in FORMATS:  # a worker has one process a core
            AvifImagePlugin.DEFAULT_MAX_THREADS = 1


_PREPARING = threading.Lock()


def refusal_of(data: bytes) -> tuple[str, str] | None:
    """Return the format that a file begins like, and why Pillow does not open it; None if it is none of FORMATS.

    `Image.open` asks every format and drops what each says.
    """
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is None or accept(data[:16]) is not True:
            continue
        try:
            factory(io.BytesIO(data), "")
        except REFUSALS as error:
            # Pillow's words for a PPM quote the file, which may be any text that begins with P.
            return name, "its header is damaged" if name == "PPM" else str(error) or type(error).__name__
    return None
