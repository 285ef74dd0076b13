"""Decoding: every format, the same pixels as Pillow, and a name for every kind of damage."""

import io
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from simplejpeg import decode_jpeg, encode_jpeg  # type: ignore[import-untyped]
from support.images import Pixels, encode, huge_jpeg, picture

from penstock.protocol.errors import ItemError
from penstock.sources.image_formats import FORMATS
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
        cwd=Path(__file__).parents[4],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ("", 0) == (done.stderr, done.returncode)
    return done.stdout


# the same pixels as Pillow


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


# orientation


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


# scaled decoding


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


# limits


MEMORY_PROGRAM = """
import resource
from support.images import encode, huge_jpeg, huge_png, picture
from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder
pages = int(open("/proc/self/statm").read().split()[0])
room = pages * resource.getpagesize() + 200_000_000
resource.setrlimit(resource.RLIMIT_AS, (room, room))

def show(decoder, *files):
    for data in files:
        try:
            print(decoder.decode(data).shape)
        except ItemError as error:
            print(error)

show(Decoder("rgb"), huge_jpeg(), huge_png(), huge_png(14_000, 14_000))
show(Decoder("rgb", max_megapixels=2000.0), huge_jpeg(30_000, 30_000), huge_png(30_000, 30_000), encode(picture(1)))
"""


def test_huge_headers_cost_no_memory_and_what_does_not_fit_is_named() -> None:
    """In a process with 200 MB to spare, 60,000 × 60,000 pixels are refused by the header, before any allocation.

    Where the limit permits more than the memory, that is the item's failure, and the next image decodes.
    """
    assert [
        "60000 × 60000 pixels is 3,600.0 megapixels; the limit is 100 (transform.max_megapixels)",
        "its header asks for far more than 100 megapixels (transform.max_megapixels)",
        "14000 × 14000 pixels is 196.0 megapixels; the limit is 100 (transform.max_megapixels)",
        "not enough memory for 2700000000 bytes of pixels",
        "not enough memory to decode it",
        "(48, 64, 3)",
    ] == run_program(MEMORY_PROGRAM).splitlines()


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("max_megapixels", [0.003, 0.0001])
def test_the_limit_on_pixels_holds_for_every_format(image_format: str, max_megapixels: float) -> None:
    """Just above and far above the limit are the same refusal, and the reason says the limit."""
    with pytest.raises(ItemError, match=rf"megapixels; the limit is {max_megapixels:g} \(transform.max_megapixels\)"):
        decode(encode(photo(), image_format), max_megapixels=max_megapixels)
    assert (45, 67, 3) == decode(encode(photo(), image_format), max_megapixels=0.003015).shape


def test_an_image_near_pillows_own_limit_warns_nobody() -> None:
    """Pillow would warn above 89 megapixels; our limit is the spec's, and warnings are errors here."""
    data = encode(Image.new("1", (10_000, 9_000)), "PNG")
    assert (9_000, 10_000, 1) == decode(data, "gray", max_megapixels=100.0).shape
    with pytest.raises(ItemError, match="the limit is 80 "):
        decode(data, "gray", max_megapixels=80.0)


@pytest.mark.parametrize("prefix", [b"", b"\0"], ids=["libjpeg", "Pillow"])
def test_a_jpeg_of_endless_scans_is_refused_at_once(prefix: bytes) -> None:
    """Each scan of a progressive JPEG is a pass over all pixels; a few bytes must not buy hours of work.

    A stray byte makes libjpeg refuse the file at once, which must not open a way around the limit.
    """
    data = encode(photo(height=450, width=670), progressive=True)
    at = data.index(b"\xff\xdb")
    data = data[:at] + prefix + data[at:]
    scan = bytes.fromhex("ffda0008010100013f10")
    assert np.array_equal(by_pillow(data), decode(data, max_megapixels=0.35))
    with pytest.raises(ItemError, match=r"about [\d,]+ scans over 0\.3 megapixels would take too long"):
        decode(data[:-2] + 100 * scan + data[-2:], max_megapixels=0.35)


def test_the_markers_of_a_scan_in_a_baseline_jpeg_are_only_data() -> None:
    """A comment full of scan markers does not make a plain JPEG suspicious."""
    data = encode(photo(height=450, width=670), comment=b"\xff\xda" * 1000)
    assert np.array_equal(by_pillow(data), decode(data, max_megapixels=0.35))


# damage


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


# the decoder's buffer


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
