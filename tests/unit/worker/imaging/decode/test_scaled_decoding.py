"""JPEGs decoded at a half, a quarter or an eighth of their size."""

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from support.images import encode
from support.imaging.decoding import photo

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder


@pytest.mark.parametrize(
    ("least", "divisor"),
    [
        ((46, 68), 1),
        ((45, 67), 1),
        ((24, 10), 1),
        ((23, 34), 2),
        ((13, 10), 2),
        ((12, 17), 4),
        ((1, 10), 4),
        ((6, 9), 8),
    ],
)
def test_the_smallest_scale_that_is_large_enough_is_taken(least: tuple[int, int], divisor: int) -> None:
    """1, 1/2, 1/4 or 1/8, rounded up, by the header's size alone; the pixels are those of OpenCV's reduced reading."""
    variants: list[dict[str, Any]] = [{}, {"progressive": True}, {"subsampling": 0}]
    for options in variants:
        data = encode(photo(), **options)
        pixels = Decoder("rgb").decode(data, least)
        assert (-(-45 // divisor), -(-67 // divisor), 3) == pixels.shape
        assert pixels.flags.c_contiguous
        if divisor > 1:
            flag = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}[
                divisor
            ]
            reduced = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
            assert reduced is not None
            assert np.array_equal(reduced[..., ::-1], pixels)


def test_a_turned_image_is_scaled_to_what_is_asked_for_after_the_turn() -> None:
    """`least` is the height and width that the caller sees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    decoder = Decoder("gray", exif_orientation=True)
    assert (34, 23, 1) == decoder.decode(encode(photo(), exif=exif), (34, 23)).shape
    assert (67, 45, 1) == decoder.decode(encode(photo(), exif=exif), (23, 34)).shape


def test_only_jpegs_are_scaled_and_limits_hold() -> None:
    """Another format comes at full size; the limit on pixels is that of the stored image."""
    assert (45, 67, 3) == Decoder("rgb").decode(encode(photo(), "PNG"), (6, 9)).shape
    with pytest.raises(ItemError, match=r"the limit is 0\.003 "):
        Decoder("rgb", max_megapixels=0.003).decode(encode(photo()), (6, 9))
