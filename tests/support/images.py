"""Real image files for tests: small labelled pictures, hostile headers, and files that root may not read either.

Owns how test images look: everything follows from a seed, and each class has a colour and a pattern of its own, so that
a network can learn them. Knows no part of Penstock.
"""

import io
import os
import struct
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

Pixels = npt.NDArray[np.uint8]

#: User and group that own nothing.
NOBODY = 65_534


def picture(seed: int, label: int = 0, height: int = 48, width: int = 64) -> Pixels:
    """Return an RGB picture (height, width, 3): the class's stripes and tint, with a gradient and noise of the seed."""
    rng = np.random.default_rng([seed, label])
    y, x = np.mgrid[0:height, 0:width]
    angle, tint = 0.9 * label, 0.5 + 0.5 * np.cos(np.array([0.0, 2.1, 4.2]) + 1.7 * label)
    stripes = 0.5 + 0.5 * np.sin((np.cos(angle) * x + np.sin(angle) * y) / 3.0 + rng.uniform(0.0, 6.3))
    shade = rng.uniform(0.3, 0.7) + 0.3 * (x / width - 0.5) * rng.uniform(-1.0, 1.0)
    values = 255.0 * (0.6 * stripes[..., np.newaxis] * tint + 0.4 * shade[..., np.newaxis])
    pixels: Pixels = np.clip(values + rng.normal(0.0, 4.0, values.shape), 0.0, 255.0).astype(np.uint8)
    return pixels


def encode(pixels: Pixels | Image.Image, image_format: str = "JPEG", **options: Any) -> bytes:
    """Return an image file's bytes; `options` go to Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def write_images(
    folder: Path,
    classes: Sequence[str] = ("cat", "dog"),
    count: int = 4,
    *,
    seed: int = 0,
    size: tuple[int, int] = (48, 64),
    suffix: str = ".jpg",
) -> list[Path]:
    """Write `count` pictures for each class, a folder a class; return the files, class by class.

    `size` is (height, width).
    """
    image_format = {".jpg": "JPEG", ".png": "PNG"}[suffix]
    files: list[Path] = []
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            files.append(folder / name / f"{index:05}{suffix}")
            files[-1].write_bytes(encode(picture(seed * 1_000_003 + index, label, *size), image_format))
    return files


def huge_jpeg(height: int = 60_000, width: int = 60_000) -> bytes:
    """Return a small JPEG whose header claims another size."""
    data = encode(picture(1))
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def huge_png(height: int = 60_000, width: int = 60_000) -> bytes:
    """Return a small PNG whose header, with a right checksum, claims another size."""
    data = encode(picture(1), "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@contextmanager
def unprivileged() -> Generator[None]:
    """Run a block without root's right to read everything; skips, loudly, where that cannot be had."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except OSError as error:
        pytest.skip(f"NOT TESTED: root may read everything and cannot become user {NOBODY}: {error}")
    try:
        yield
    finally:
        os.seteuid(0)


def open_to_all(folder: Path) -> None:
    """Let any user into a temporary folder, so that what an `unprivileged` block cannot read is what the test says."""
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.geteuid() and not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o055)
