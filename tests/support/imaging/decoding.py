"""Small pictures in every format, and what Pillow and the decoder make of a file."""

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from support.images import Pixels, picture

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder

FAMILIES: dict[str, list[tuple[str, str, dict[str, object]]]] = {
    # image format: (mode, name, options)
    "JPEG": [
        ("RGB", "4:2:0", {}),
        ("RGB", "4:4:4", {"subsampling": 0}),
        ("RGB", "4:2:2", {"subsampling": 1}),
        ("RGB", "progressive", {"progressive": True}),
        ("RGB", "restart", {"restart_marker_blocks": 2}),
        ("RGB", "stored as RGB", {"keep_rgb": True}),
        ("L", "gray", {}),
        ("CMYK", "inverted CMYK", {}),
    ],
    "PNG": [("RGB", "", {}), ("RGBA", "", {}), ("L", "", {}), ("LA", "", {}), ("P", "", {}), ("1", "", {})],
    "WEBP": [("RGB", "lossy", {}), ("RGB", "lossless", {"lossless": True}), ("RGBA", "lossless", {"lossless": True})],
    "BMP": [("RGB", "", {}), ("L", "", {}), ("P", "", {}), ("1", "", {})],
    "GIF": [("RGB", "", {}), ("L", "", {}), ("P", "transparent", {"transparency": 3})],
    "TIFF": [
        ("RGB", "raw", {}),
        ("RGB", "LZW", {"compression": "tiff_lzw"}),
        ("RGB", "deflate", {"compression": "tiff_adobe_deflate"}),
        ("RGB", "packbits", {"compression": "packbits"}),
        ("RGB", "JPEG", {"compression": "jpeg"}),
        ("CMYK", "", {}),
        ("L", "", {}),
        ("LA", "", {}),
        ("YCbCr", "", {}),
    ],
    "PPM": [("RGB", "", {}), ("L", "", {}), ("1", "", {})],
}

CASES = [
    pytest.param(image_format, mode, options, id=f"{image_format} {mode} {name}")
    for image_format, family in FAMILIES.items()
    for mode, name, options in family
]


def photo(mode: str = "RGB", height: int = 45, width: int = 67) -> Image.Image:
    """Return a small picture in one of Pillow's modes."""
    image = Image.fromarray(picture(3, 1, height, width))
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(picture(4, 2, height, width)[..., 0]))
    return image.convert(mode)


def by_pillow(data: bytes, mode: str = "RGB") -> Pixels:
    """Return what Pillow makes of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert(mode))
    return pixels[..., np.newaxis] if mode == "L" else pixels


def decode(
    data: bytes, color: Literal["rgb", "gray"] = "rgb", *, exif: bool = False, max_megapixels: float = 200.0
) -> Pixels:
    """Decode one file by a decoder of its own."""
    return Decoder(color, exif_orientation=exif, max_megapixels=max_megapixels).decode(data)


def attempt(decoder: Decoder, data: bytes) -> Pixels | str:
    """Return the pixels, or the reason why there are none: words that do not change from run to run."""
    try:
        return decoder.decode(data)
    except ItemError as error:
        reason = str(error)
    assert " at 0x" not in reason
    return reason


def run_program(program: str, **environment: str) -> str:
    """Run a Python program that may import the tests' helpers; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys\nsys.path.insert(0, 'tests')\n" + program],
        cwd=Path(__file__).parents[3],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ("", 0) == (done.stderr, done.returncode)
    return done.stdout
