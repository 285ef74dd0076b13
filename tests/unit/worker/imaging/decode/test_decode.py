"""Decoding: every format gives the pixels that Pillow gives."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from simplejpeg import decode_jpeg, encode_jpeg  # type: ignore[import-untyped]
from support.images import encode, huge_jpeg, picture
from support.imaging.decoding import CASES, attempt, by_pillow, decode, photo, run_program

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder


@pytest.mark.parametrize(("image_format", "mode", "options"), CASES)
def test_every_format_and_mode_decodes_as_by_pillow(image_format: str, mode: str, options: dict[str, object]) -> None:
    """RGB is Pillow's convert("RGB"), whichever library decodes."""
    data = encode(photo(mode), image_format, **options)
    pixels = decode(data)
    assert (45, 67, 3) == pixels.shape
    assert np.uint8 == pixels.dtype
    assert pixels.flags.c_contiguous
    assert np.array_equal(by_pillow(data), pixels)


@pytest.mark.parametrize(("image_format", "mode", "options"), CASES)
def test_gray_is_pillows_or_the_jpegs_own_luma(image_format: str, mode: str, options: dict[str, object]) -> None:
    """Gray is convert("L"); of a JPEG, what draft("L") gives, which is near it."""
    data = encode(photo(mode), image_format, **options)
    pixels = decode(data, "gray")
    assert (45, 67, 1) == pixels.shape
    if image_format != "JPEG":
        assert np.array_equal(by_pillow(data, "L"), pixels)
        return
    drafted = Image.open(io.BytesIO(data))
    drafted.draft("L", drafted.size)
    assert np.array_equal(np.asarray(drafted.convert("L"))[..., np.newaxis], pixels)
    assert np.abs(by_pillow(data, "L").astype(int) - pixels).mean() < 1.0


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411", "Gray"])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 16), (33, 129)])
def test_every_subsampling_and_odd_size_decodes_as_by_pillow(subsampling: str, size: tuple[int, int]) -> None:
    """The edges of blocks are where two builds of libjpeg would differ."""
    data = encode_jpeg(picture(5, 1, *size), colorsubsampling=subsampling)
    assert np.array_equal(by_pillow(data), decode(data))


def test_real_photos_decode_as_by_pillow(shared_data: Path) -> None:
    """The fast path is bit-identical to Pillow on photos of many cameras, in RGB and in gray."""
    files = sorted((shared_data / "cats-dogs").glob("*/*.jpg"))[::20] + sorted((shared_data / "camera").glob("*.jpg"))
    assert len(files) >= 60
    rgb, gray = Decoder("rgb"), Decoder("gray")
    for file in files:
        data = file.read_bytes()
        assert isinstance(decode_jpeg(data, "RGB"), np.ndarray), f"{file.name} does not take the fast path"
        assert np.array_equal(by_pillow(data), rgb.decode(data)), file.name
        drafted = Image.open(io.BytesIO(data))
        drafted.draft("L", drafted.size)
        assert np.array_equal(np.asarray(drafted)[..., np.newaxis], gray.decode(data)), file.name


def test_odd_jpegs_decode_as_by_pillow_or_are_named(shared_data: Path) -> None:
    """Damaged and unusual JPEGs are never a crash, never other pixels, and have reasons without memory addresses."""
    decoder, decoded = Decoder("rgb", exif_orientation=False), 0
    files = sorted((shared_data / "odd").iterdir())
    assert 16 == len(files)
    for file in files:
        data = file.read_bytes()
        pixels = attempt(decoder, data)
        if isinstance(pixels, str):
            assert pixels.startswith("damaged JPEG"), file.name
        else:
            decoded += 1
            assert np.array_equal(by_pillow(data), pixels), file.name
    assert 2 == decoded


def test_16_bit_samples_keep_their_high_byte() -> None:
    """As Pillow does for 16-bit RGB itself, where its convert("RGB") of 16-bit gray would turn nearly all white."""
    deep = np.arange(0, 65_536, 23, dtype=np.uint16)[:2400].reshape(40, 60)
    high = (deep >> 8).astype(np.uint8)[..., np.newaxis]
    for image_format in ("PNG", "TIFF", "PPM"):
        data = encode(Image.fromarray(deep), image_format)
        assert np.array_equal(high, decode(data, "gray")), image_format
        assert np.array_equal(np.repeat(high, 3, axis=2), decode(data)), image_format


@pytest.mark.parametrize("mode", ["F", "I"])
def test_samples_without_a_fixed_range_are_refused(mode: str) -> None:
    """Nobody can know what 0.5 or 100,000 should look like."""
    with pytest.raises(ItemError, match=r"a TIFF of (signed|floating-point) samples of 32 bits.*unsigned samples of 8"):
        decode(encode(photo("L").convert(mode), "TIFF"))


def test_the_first_frame_of_an_animation_is_the_image() -> None:
    """Later frames are not looked at."""
    first, second = photo().quantize(16), photo().rotate(180).quantize(16)
    for image_format in ("GIF", "TIFF", "PNG"):
        data = encode(first, image_format, save_all=True, append_images=[second])
        assert np.array_equal(np.asarray(first.convert("RGB")), decode(data)), image_format


def test_decoding_after_a_failure_or_a_larger_image_leaves_no_trace() -> None:
    """The output buffer is used again; nothing of an earlier image may show."""
    decoder = Decoder("rgb")
    small, large = encode(picture(1, 0, 20, 30)), encode(picture(2, 1, 200, 300))
    for data in (small, large, small, large[: len(large) // 2], small, huge_jpeg(), large):
        pixels = attempt(decoder, data)
        assert isinstance(pixels, str) == (data not in (small, large))
        assert isinstance(pixels, str) or np.array_equal(by_pillow(data), pixels)


def test_pixels_above_the_buffers_bound_are_not_kept() -> None:
    """One panorama must not hold its memory until the worker ends."""
    decoder = Decoder("rgb")
    decoder.decode(encode(Image.new("RGB", (6_000, 4_000))))
    assert decoder._scratch.nbytes == 0
    decoder.decode(encode(picture(1)))
    assert 48 * 64 * 3 == decoder._scratch.nbytes


def test_bytes_are_the_same_without_simd() -> None:
    """Hosts differ in their instruction sets; libjpeg-turbo promises, and we check, that pixels do not."""
    program = """
import hashlib
from support.images import encode, picture
from penstock.worker.imaging.decode import Decoder
digest = hashlib.sha256()
for size in ((48, 64), (131, 77), (200, 300)):
    for options in ({}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}):
        data = encode(picture(1, 1, *size), "JPEG", **options)
        for least in (None, (25, 30), (10, 10), (5, 5)):
            digest.update(Decoder("rgb").decode(data, least))
print(digest.hexdigest())
"""
    assert run_program(program) == run_program(program, JSIMD_FORCENONE="1")
