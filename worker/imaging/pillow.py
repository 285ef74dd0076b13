"""Pillow as the workers use it: owns which formats it may try, its process-wide settings and what it may raise.

Refuses to know pixels and what a failure is called.
"""

import struct
import threading
import warnings
import zlib

from PIL import Image

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
        warnings.filterwarnings("ignore", module=r"(PIL|penstock\.worker\.(decode|orientation))\b")


_PREPARING = threading.Lock()
