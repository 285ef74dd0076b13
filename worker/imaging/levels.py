"""Turns an image that Pillow decoded into uint8 levels, whatever its depth and colours.

It goes in bands of rows: a whole image would be copied three times, and numpy holds the interpreter while it works on
an array.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from penstock.protocol.errors import ItemError

Pixels = npt.NDArray[np.uint8]
Deep = npt.NDArray[Any]

#: Pixels of a band.
_BAND = 1 << 20
#: Pillow's modes for so many channels.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_OPAQUE = 255
# Tags of TIFF.
_BITS, _PHOTOMETRIC, _FORMAT = 258, 262, 339
_WHITE_IS_ZERO = 0
_KINDS = {2: "signed", 3: "floating-point"}


def check_samples(image: Image.Image) -> None:
    """Raise ItemError if the samples of an image, not yet loaded, have no fixed range that 8 bits can stand for."""
    tags: Any = getattr(image, "tag_v2", None)
    bits, kind = _depth(tags), _sample_kind(tags)
    if kind != "unsigned" or (image.format == "TIFF" and image.mode in ("I", "F")):
        raise ItemError(
            f"a {image.format} of {kind} samples of {bits or 32} bits, which have no fixed range: store unsigned "
            "samples of 8 or 16 bits a channel"
        )
    if image.mode == "F":
        raise ItemError(f"a {image.format} of floating-point samples, which have no fixed range: store 8 or 16 bits")


def to_levels(image: Image.Image, channels: int, depth: int = 8) -> Pixels:
    """Return the levels (height, width, channels) of a loaded image; `depth` is that of a JPEG 2000 file.

    Of samples of more than 8 bits the highest 8 are taken; those of fewer are scaled to 0 to 255.
    """
    width, height = image.size
    rows = max(1, _BAND // max(1, width))
    band = _bands(image, channels, depth)
    if rows >= height:
        return band(image)
    out = np.empty((height, width, channels), np.uint8)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        out[top:bottom] = band(image.crop((0, top, width, bottom)))
    return out


def _bands(image: Image.Image, channels: int, depth: int) -> Callable[[Image.Image], Pixels]:
    """Return what makes levels of a band of this image."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        tags: Any = getattr(image, "tag_v2", None)
        bits = _depth(tags) or 16
        white = tags is not None and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        return lambda band: _colours(_high_bits(np.asarray(band), bits, white=white), channels)
    table = _scaled(depth) if image.format == "JPEG2000" and depth < 8 else None  # noqa: PLR2004 - bits of a level

    def levels(band: Image.Image) -> Pixels:
        found: Pixels = np.asarray(band.convert(_MODES[channels]))
        if table is not None:
            found = table[found]
        return found[..., np.newaxis] if channels == 1 else found

    return levels


def _high_bits(deep: Deep, bits: int, *, white: bool) -> Pixels:
    top = (1 << bits) - 1
    whole = np.clip(deep, 0, top)
    levels: Pixels = ((top - whole if white else whole) >> (bits - 8)).astype(np.uint8)
    return levels


def _colours(gray: Pixels, channels: int) -> Pixels:
    levels = gray[..., np.newaxis]
    if channels == 4:  # noqa: PLR2004 - with alpha
        return np.concatenate([levels, levels, levels, np.full_like(levels, _OPAQUE)], axis=2)
    return levels if channels == 1 else np.repeat(levels, 3, axis=2)


def _scaled(depth: int) -> Pixels:
    """Return the level for what Pillow makes of each sample of few bits: it moves them up and leaves zeros below."""
    samples = np.arange(256) >> (8 - depth)
    table: Pixels = np.rint(samples * 255 / ((1 << depth) - 1)).astype(np.uint8)
    return table


def _depth(tags: Any) -> int | None:  # noqa: ANN401 - Pillow's directory, or None
    bits = tags.get(_BITS) if tags is not None else None
    return int(max(bits)) if bits else None


def _sample_kind(tags: Any) -> str:  # noqa: ANN401 - Pillow's directory, or None
    kinds = tags.get(_FORMAT) if tags is not None else None
    return next((_KINDS[kind] for kind in kinds or () if kind in _KINDS), "unsigned")
