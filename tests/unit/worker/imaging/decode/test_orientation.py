"""Orientation by EXIF, TIFF and XMP: images are turned as by Pillow."""

import io
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.images import encode
from support.imaging.decoding import decode, photo


@pytest.mark.parametrize("value", range(10))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_all_orientations_turn_as_by_pillow(value: int, image_format: str, color: Literal["rgb", "gray"]) -> None:
    """All eight values, and two that mean nothing; without the option the pixels stay as stored.

    But for TIFF, whose orientation is a tag of the format itself, not of EXIF: Pillow always applies it, so we do.
    """
    exif = Image.Exif()
    exif[0x0112] = value
    data = encode(photo(), image_format, exif=exif)
    mode = {"rgb": "RGB", "gray": "L"}[color]
    image = Image.open(io.BytesIO(data))
    if color == "gray":
        image.draft("L", image.size)
    expected = np.asarray(ImageOps.exif_transpose(image).convert(mode))
    expected = expected.reshape(*expected.shape[:2], -1)
    assert np.array_equal(expected, decode(data, color, exif=True))
    stored = decode(encode(photo(), image_format), color)
    assert np.array_equal(expected if image_format == "TIFF" else stored, decode(data, color))


def test_damaged_exif_means_as_stored() -> None:
    """The pixels are fine, so they are used; nothing is printed either."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(photo(), exif=exif)
    at = data.index(b"Exif\0\0")
    for damage in (b"Exif\0\0", b"Exif\0\0MM", b"Exif\0\0II*\0\xff\xff\xff\xff"):
        broken = data[:at] + damage.ljust(14, b"\xff") + data[at + 14 :]
        assert np.array_equal(decode(data), decode(broken, exif=True)), damage


def test_orientation_in_xmp_counts_too() -> None:
    """As in Pillow's exif_transpose."""
    data = encode(photo(), xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="3"/></x:xmpmeta>')
    assert np.array_equal(decode(data)[::-1, ::-1], decode(data, exif=True))
