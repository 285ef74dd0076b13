"""PNG: damage that its checksums show, and metadata that its pixels do not need."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from support.deep_images import chunk
from support.images import encode, picture

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.png import without_metadata

PLAIN = encode(picture(1), "PNG")
AFTER_HEADER = 33


def insert(*chunks: bytes) -> bytes:
    """Return the plain picture with chunks after its header."""
    return PLAIN[:AFTER_HEADER] + b"".join(chunks) + PLAIN[AFTER_HEADER:]


def test_every_flipped_bit_in_the_image_data_is_found() -> None:
    """The checksum of IDAT covers its name, its data and itself."""
    at = PLAIN.index(b"IDAT")
    length = struct.unpack(">I", PLAIN[at - 4 : at])[0]
    decoder = Decoder("rgb")
    for place in range(at, at + 4 + length + 4, 11):
        damaged = bytearray(PLAIN)
        damaged[place] ^= 1 << (place % 8)
        with pytest.raises(ItemError, match="damaged PNG: "):
            decoder.decode(bytes(damaged))
    assert 200 < length


def test_a_file_that_is_cut_anywhere_is_damaged() -> None:
    """Even where all pixels are there, and only the last chunk is not."""
    decoder = Decoder("rgb")
    for length in [*range(9, len(PLAIN), 23), *range(len(PLAIN) - 13, len(PLAIN))]:
        with pytest.raises(ItemError, match=r"damaged PNG: the file ends (inside its chunk|before its chunk IEND)"):
            decoder.decode(PLAIN[:length])
    assert np.array_equal(decoder.decode(PLAIN), decoder.decode(PLAIN + b"what follows the end"))


@pytest.mark.parametrize("oriented", [False, True])
@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(3_000_000))), id="a profile of 3 MB"),
        pytest.param(chunk(b"iCCP", b"icc\0\0 not deflate"), id="a damaged profile"),
        pytest.param(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000))), id="a text of 3 MB"),
        pytest.param(
            chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(3_000_000))), id="an EXIF text of 3 MB"
        ),
        pytest.param(
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(3_000_000))), id="an XMP text of 3 MB"
        ),
        pytest.param(100 * chunk(b"tEXt", b"Comment\0" + bytes(900_000)), id="90 MB of text"),
        pytest.param(chunk(b"tEXt", b"Comment\0text")[:-1] + b"\0", id="a text with a wrong checksum"),
        pytest.param(chunk(b"tIME", b"?"), id="a damaged date"),
        pytest.param(chunk(b"gAMA", b""), id="an empty gamma"),
    ],
)
def test_metadata_never_fail_a_picture(extra: bytes, *, oriented: bool) -> None:
    """They are not what the pixels are made of; the plain picture comes out."""
    plain = Decoder("rgb").decode(PLAIN).copy()
    assert np.array_equal(plain, Decoder("rgb", exif_orientation=oriented).decode(insert(extra)))


def test_transparency_stays_and_orientation_counts_where_it_is_asked_for() -> None:
    """TRNS changes pixels; EXIF, in its chunk or as text, is kept only for a decoder that turns images."""
    palette = Image.fromarray(picture(1)).convert("P")
    data = encode(palette, "PNG", transparency=bytes([0, 128, 255]))
    assert np.array_equal(
        np.asarray(Image.open(__import__("io").BytesIO(data)).convert("RGBA")), Decoder("rgba").decode(data)
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(picture(1), "PNG", exif=exif)
    assert (64, 48, 3) == Decoder("rgb", exif_orientation=True).decode(turned).shape
    assert (48, 64, 3) == Decoder("rgb").decode(turned).shape
    assert b"eXIf" not in without_metadata(turned, oriented=False)


def test_a_file_of_endless_chunks_is_refused() -> None:
    """Walking over millions of empty chunks must not take seconds."""
    with pytest.raises(ItemError, match="more than 200000 chunks"):
        Decoder("rgb").decode(insert(200_001 * chunk(b"tEXt", b"")))
