"""Samples of every depth become levels of 0 to 255 by the file's own depth."""

import numpy as np
import pytest
from PIL import Image
from support.deep_images import colour_jpeg2000, jpeg2000, pgm, png, tiff
from support.images import encode

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.levels import to_levels


def ramp(most: int) -> list[int]:
    """Return samples from 0 to `most`."""
    return [most * place // 31 for place in range(32)]


def levels(samples: list[int], most: int) -> list[int]:
    """Return what samples stand for: the highest 8 bits, or all of 0 to 255 where there are fewer."""
    if most > 255:
        bits = most.bit_length()
        return [sample >> (bits - 8) for sample in samples]
    return [round(sample * 255 / most) for sample in samples]


def decode(data: bytes) -> list[int]:
    """Return the levels of a gray image."""
    return [int(level) for level in Decoder("gray").decode(data).ravel()]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_tiffs_of_every_depth(bits: int, order: str, *, white_is_zero: bool) -> None:
    """Packed and whole samples, in both byte orders, black or white being zero; what Pillow cannot read is named."""
    most = (1 << bits) - 1
    data = tiff(ramp(most), bits, order=order, white_is_zero=white_is_zero)
    if (bits == 12 and (white_is_zero or order == ">")) or (bits == 16 and white_is_zero and order == ">"):
        with pytest.raises(ItemError, match="a TIFF file that cannot be decoded: unknown pixel mode"):
            decode(data)
        return
    samples = [most - sample for sample in ramp(most)] if white_is_zero else ramp(most)
    assert levels(samples, most) == decode(data)


def test_a_level_of_a_12_bit_tiff() -> None:
    """1110 of 4095 is 69 of 255."""
    assert [69] == decode(tiff([1110], 12))


@pytest.mark.parametrize(("bits", "sample_format", "kind"), [(8, 2, "signed"), (16, 2, "signed"), (32, 2, "signed")])
def test_signed_samples_are_refused_as_such(bits: int, sample_format: int, kind: str) -> None:
    """The words give their own depth; Pillow would take those of 8 bits for unsigned ones."""
    with pytest.raises(ItemError, match=f"a TIFF of {kind} samples of {bits} bits, which have no fixed range"):
        decode(tiff(ramp(100), bits, sample_format=sample_format))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_pngs_of_every_depth(bits: int) -> None:
    """1, 2, 4, 8 and 16 bits."""
    most = (1 << bits) - 1
    assert levels(ramp(most), most) == decode(png(ramp(most), bits))


@pytest.mark.parametrize("most", [1, 3, 7, 15, 100, 255, 1023, 4095, 65_535])
@pytest.mark.parametrize("text", [False, True])
def test_pgms_of_every_depth(most: int, *, text: bool) -> None:
    """White may be any number; above 255, Pillow's own scaling to 16 bits may round a level up."""
    found = np.array(decode(pgm(ramp(most), most, text=text)))
    expected = np.array(levels(ramp(most), most))
    assert int(np.abs(expected - found).max()) <= (most in (1023, 4095))


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 7, 8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("boxes", [False, True])
def test_jpeg_2000_files_of_every_depth(bits: int, *, boxes: bool) -> None:
    """With and without a JP2 container; white is white at every depth."""
    most = (1 << bits) - 1
    found = decode(jpeg2000(ramp(most), bits, boxes=boxes))
    assert levels(ramp(most), most) == found
    assert 255 == found[-1]


@pytest.mark.parametrize("bits", [9, 10, 12, 16])
def test_deep_colours_of_jpeg_2000_keep_their_highest_bits(bits: int) -> None:
    """Pillow would turn white into black."""
    samples = np.random.default_rng(0).integers(0, 1 << bits, (64, 70, 3))
    samples[0, 0], samples[0, 1] = (1 << bits) - 1, 0
    data = colour_jpeg2000(samples, bits)
    assert np.array_equal(samples >> (bits - 8), Decoder("rgb").decode(data))
    assert [255, 255, 255, 255] == Decoder("rgba").decode(data)[0, 0].tolist()
    assert [255] == Decoder("gray").decode(data)[0, 0].tolist()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_bands_are_the_whole_image(mode: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of more pixels than a band becomes what it would be at once."""
    noise = np.random.default_rng(1).integers(0, 256, (50, 40, 3), np.uint8)
    image = Image.fromarray(noise).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 200)
    if mode == "P":
        image.info["transparency"] = 3
    whole = to_levels(image, channels)
    monkeypatch.setattr("penstock.worker.imaging.levels._BAND", 7 * 40)
    assert np.array_equal(whole, to_levels(image, channels))


def test_avif_and_jpeg_2000_files_are_images() -> None:
    """Colours come as Pillow decodes them."""
    colours = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8))
    assert np.array_equal(np.asarray(colours), Decoder("rgb").decode(encode(colours, "JPEG2000")))
    assert (20, 30, 3) == Decoder("rgb").decode(encode(colours, "AVIF", quality=90)).shape
