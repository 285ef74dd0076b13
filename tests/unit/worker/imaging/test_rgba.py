"""Samples with an alpha channel: decoded, resized and changed as Pillow would."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import encode, picture

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.augment import Augment
from penstock.protocol.spec.spec import parse_spec
from penstock.worker.imaging.augment.apply import Augmenter
from penstock.worker.imaging.decode import Decoder


def clear(height: int = 30, width: int = 40) -> Image.Image:
    """Return a picture with an alpha channel that varies."""
    image = Image.fromarray(picture(1, 1, height, width)).convert("RGBA")
    image.putalpha(Image.fromarray(picture(2, 0, height, width)[..., 0]))
    return image


@pytest.mark.parametrize(
    "data",
    [
        encode(picture(3)),
        encode(clear(), "PNG"),
        encode(clear(), "WEBP", lossless=True),
        encode(picture(3)[..., 0], "PNG"),
        encode(Image.fromarray(picture(3)).convert("CMYK"), "JPEG"),
        encode(Image.fromarray(picture(3)).quantize(16), "PNG", transparency=3),
    ],
    ids=["jpeg", "png", "webp", "gray", "cmyk", "palette"],
)
def test_alpha_is_what_pillow_makes_of_it(data: bytes) -> None:
    """Kept where the file has it, 255 elsewhere."""
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    assert np.array_equal(expected, Decoder("rgba").decode(data))


def test_sixteen_bits_are_opaque() -> None:
    """The high byte in three channels, and 255."""
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    result = Decoder("rgba").decode(encode(Image.fromarray(deep), "PNG"))
    assert np.array_equal(deep >> 8, result[..., 1])
    assert (result[..., 3] == 255).all()


def test_brightness_leaves_alpha_alone() -> None:
    """As Pillow's ImageEnhance does, and Keras with it."""
    image = np.asarray(clear())
    augmenter = Augmenter(Augment(brightness_range=(0.5, 0.5)), (30, 40, 4))
    out = np.empty((1, 30, 40, 4), np.uint8)
    augmenter.begin(np.array([[0.3]]))
    augmenter.write(image, 0, out[0])
    augmenter.finish(np.array([0]), out)
    assert np.array_equal(image[..., 3], out[0, ..., 3])
    assert np.array_equal((image[..., :3] * np.float32(0.5)).astype(np.uint8), out[0, ..., :3])


def test_manipulations_are_refused_with_alpha(tmp_path: Path) -> None:
    """JPEG compression, for one, cannot be done with alpha: the error says what to leave out."""
    transform: dict[str, Any] = {
        "color": "rgba",
        "patch": {"height": 8, "width": 8},
        "manipulations": {"preset": "ieee-sp-cup-2018"},
    }
    stream = {"source": {"kind": "directory", "root": "photos"}, "transform": transform}
    with pytest.raises(SpecError, match="'rgba'"):
        parse_spec({"roots": {"photos": str(tmp_path)}, "streams": {"train": stream}})
