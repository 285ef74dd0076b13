"""Damaged files: an error that names the damage, or all pixels; never a half-gray image."""

import random

import numpy as np
import pytest
from support.images import encode
from support.imaging.decoding import CASES, FAMILIES, attempt, by_pillow, decode, photo

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder


@pytest.mark.parametrize(("image_format", "mode", "options"), CASES)
def test_a_truncated_file_is_named_or_whole(image_format: str, mode: str, options: dict[str, object]) -> None:
    """Cut anywhere, a file is a failure, or all of its pixels were there; a half-gray image never comes out."""
    data = encode(photo(mode), image_format, **options)
    decoder = Decoder("rgb")
    whole = decoder.decode(data).copy()
    failures = 0
    for length in range(0, len(data), 10):
        pixels = attempt(decoder, data[:length])
        if isinstance(pixels, str):
            failures += 1
        else:
            assert np.array_equal(whole, pixels), f"{length} of {len(data)} bytes"
            assert np.array_equal(by_pillow(data[:length]), pixels)
    assert failures >= len(data) // 10 - 4


def test_lost_data_inside_a_jpeg_is_named() -> None:
    """A JPEG whose middle is gone has an end, so Pillow would fill the rest with gray; it is a failure all the same."""
    data = encode(photo(height=200, width=200))
    broken = data[: len(data) // 2] + data[-2:]
    assert (200, 200, 3) == by_pillow(broken).shape
    with pytest.raises(ItemError, match="damaged JPEG, pixels are lost: Corrupt JPEG data: premature end"):
        decode(broken)


def test_harmless_oddities_in_a_jpeg_decode() -> None:
    """Stray bytes between segments or after the end make libjpeg warn, but no pixel is lost."""
    data = encode(photo())
    at = data.index(b"\xff\xdb")
    for odd in (data[:at] + b"\0stray\0" + data[at:], data + b"trailing" * 100, data + data):
        assert np.array_equal(by_pillow(data), decode(odd))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"not an image of a known format \(JPEG, PNG, .*: it is empty"),
        (b"Hello, I am a text", r"it looks like a text$"),
        (b"\n<!DOCTYPE html><title>secret", r"it looks like a web page$"),
        (b"PK\x03\x04secret", r"it looks like a ZIP archive$"),
        (b"\x00\x01secret\xff", r"it looks like none of the kinds of file known here$"),
        (b"\xff\xd8", r"^damaged JPEG: "),
        (b"\xff\xd8\xff", r"^damaged JPEG: "),
        (b"\x89PNG\r\n\x1a\n", r"^damaged PNG: the file ends before its chunk IEND"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"known format .*PostScript"),
        (b"GIF89a", r"^a GIF file that cannot be decoded: "),
        (bytes(1000), r"known format"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, reason: str) -> None:
    """The reason tells a web page or a text named .jpg at a glance, and quotes nothing of the file."""
    with pytest.raises(ItemError, match=reason) as caught:
        decode(data)
    assert "secret" not in str(caught.value)


def test_mutated_files_are_pixels_or_named(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever bytes change, in any format: pixels of the right kind or an ItemError, and quickly."""
    rng = random.Random(20_261_121)
    originals = [
        encode(photo(mode, 29, 37), image_format, **options)
        for image_format, family in FAMILIES.items()
        for mode, _, options in family
    ]
    decoders = [Decoder("rgb", exif_orientation=True, max_megapixels=2.0), Decoder("gray", max_megapixels=2.0)]
    outcomes = {"pixels": 0, "failure": 0}
    for _ in range(3000):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(min(len(data), rng.choice((64, 10_000))))
            data[at : at + rng.choice((0, 1, 1, 4))] = rng.choice(
                (b"\xff", b"\0", b"\xff\xff\xff\xff", rng.randbytes(2))
            )
        pixels = attempt(rng.choice(decoders), bytes(data))
        if isinstance(pixels, str):
            outcomes["failure"] += 1
        else:
            outcomes["pixels"] += 1
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.flags.c_contiguous
    assert min(outcomes.values()) > 200, outcomes
    capfd.readouterr()  # libtiff writes its complaints to standard error itself
