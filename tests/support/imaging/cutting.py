"""Cutters of streams, and what they make of a picture."""

import io
from typing import Any

import numpy as np
from PIL import Image
from support.images import Pixels, encode, picture

from penstock.protocol.spec.operation import Manipulation
from penstock.protocol.spec.spec import Stream
from penstock.worker.imaging.operations.gamma import Gamma
from penstock.worker.imaging.operations.jpeg import Jpeg
from penstock.worker.imaging.operations.rescale import Rescale
from penstock.worker.imaging.patches import Cutter

PATCH: dict[str, Any] = {"height": 20, "width": 30}
CUP = {"preset": "ieee-sp-cup-2018"}
TURNS: dict[str, Any] = {"choices": [{"kind": "rot90", "turns": turns} for turns in (1, 2, 3)]}
KINDS = ("center", "random", "grid", "scattered")


def channels(count: int, height: int, width: int) -> Pixels:
    """Return a picture of 3 channels, or of 1."""
    return np.ascontiguousarray(picture(7, 1, height, width)[..., :count])


def cutter(transform: dict[str, Any], count: int = 1, seed: int = 7) -> Cutter:
    """Return the cutter of a stream with this transform and so many patches an item."""
    source = {"kind": "directory", "root": "photos"}
    settings = Stream.model_validate({"source": source, "transform": transform, "patches": count})
    return Cutter(settings, seed)


def draws_of(maker: Cutter, count: int, seed: int = 1) -> Any:
    """Return uniforms for one item."""
    return np.random.default_rng(seed).random((count, maker.columns))


def cuts(transform: dict[str, Any], pixels: Pixels, count: int = 1, item: int = 0, **options: Any) -> list[Pixels]:
    """Return copies of one image's patches."""
    maker = cutter(transform, count)
    return [cut.copy() for cut, _ in maker.cuts(pixels, 0, item, draws_of(maker, count), **options)]


def whole(pixels: Pixels, manipulation: Manipulation | None) -> Pixels:
    """Manipulate a whole image by Pillow and numpy, but leave it unturned."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    match manipulation:
        case Gamma(value=value):
            return np.floor(255.0 * (pixels / 255.0) ** value + 0.5).astype(np.uint8)
        case Jpeg(value=value):
            file = io.BytesIO(encode(image, quality=value, subsampling=2))
            return np.asarray(Image.open(file)).reshape(pixels.shape)
        case Rescale():
            height, width = manipulation.size((pixels.shape[0], pixels.shape[1]))
            resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
            return resized.reshape(height, width, pixels.shape[2])
        case _:
            return pixels


def numbered(height: int, width: int) -> Pixels:
    """Return an image whose pixels name their row and column; sides below 250."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, y ^ x], axis=2).astype(np.uint8)
