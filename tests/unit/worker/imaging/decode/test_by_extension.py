"""JPEGs that are decoded by the extension: the pixels and the failures are those that libjpeg and Pillow give."""

import random
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.images import Pixels, encode, picture
from support.imaging.decoding import attempt
from support.imaging.jpeg_parts import needs_planes
from support.imaging.pipelines import make_task, run

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size, Window
from penstock.worker.imaging import decode, partial_jpeg
from penstock.worker.imaging.compiled import planes
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.partial_jpeg import MIN_PIXELS

pytestmark = needs_planes


@pytest.fixture(autouse=True)
def _smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the extension decode images of any size: small ones are tested faster."""
    monkeypatch.setattr(decode, "MIN_PLANES", 0)
    monkeypatch.setattr(decode, "MIN_WHOLE", 0)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Decoder:
    """Return a decoder as of a host without the extension."""
    with monkeypatch.context() as patch:
        patch.setattr(decode, "EXTENSION", None)
        return Decoder("rgb")


def decoded_plainly(plain: Decoder, data: bytes) -> Pixels | str:
    """Return what such a host makes of a file: its pixels, or why there are none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partial_jpeg, "_EXTENSION", None)
        return attempt(plain, data)


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[Size]:
    """Return a list that grows by the size of each image of which planes were decoded."""
    sizes: list[Size] = []
    usual = planes.PlaneDecoder.decode

    def counted(self: planes.PlaneDecoder, data: bytes) -> planes.Planes | None:
        found = usual(self, data)
        if found is not None:
            sizes.append((found.height, found.width))
        return found

    monkeypatch.setattr(planes.PlaneDecoder, "decode", counted)
    return sizes


@settings(max_examples=150)
@given(data=st.data())
def test_pixels_inside_the_windows_are_those_of_the_whole_image(data: st.DataObject) -> None:
    """Any size and sampling; no window, one, or many that overlap; stored upright or turned."""
    height, width = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    exif = Image.Exif()
    exif[0x0112] = data.draw(st.sampled_from((1, 1, 6, 4)))
    file = encode(picture(height, 1, height, width), subsampling=data.draw(st.sampled_from((0, 1, 2, 2))), exif=exif)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "EXTENSION", None)
        patch.setattr(partial_jpeg, "_EXTENSION", None)
        whole = Decoder("rgb", exif_orientation=True).decode(file).copy()
    asked: list[Window] = []

    def windows(size: Size) -> list[Window] | None:
        assert whole.shape[:2] == size
        for _ in range(data.draw(st.integers(0, 3))):
            top, left = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
            sides = data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left))
            asked.append(Window(top, left, *sides))
        return asked or None

    found = Decoder("rgb", exif_orientation=True).decode(file, None, windows)
    assert whole.shape == found.shape
    for window in asked or [Window(0, 0, *whole.shape[:2])]:
        assert np.array_equal(window.of(whole), window.of(found))


def test_only_what_the_windows_show_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is the gain; and very large images, grey ones and those with alpha go their own ways."""
    sizes = count_decoded(monkeypatch)
    file = encode(picture(1, 0, 120, 160), subsampling=2)
    decoder = Decoder("rgb")
    whole = decoder.decode(file).copy()
    decoder.decode(encode(Image.new("RGB", (160, 120)), subsampling=2))  # the buffer is black now
    part = decoder.decode(file, None, lambda _: [Window(10, 20, 30, 40)])
    assert np.array_equal(whole[10:40, 20:60], part[10:40, 20:60])
    assert not part[60:].any()
    assert [(120, 160)] * 3 == sizes
    Decoder("gray").decode(file)
    Decoder("rgba").decode(file)
    monkeypatch.setattr(decode, "_MOST_PLANES", 120 * 160 - 1)
    decoder.decode(file)
    decoder.decode(encode(picture(3, 0, 120, 160), subsampling=0))
    decoder.decode(file, (60, 80))  # at half its size
    assert [(120, 160)] * 3 == sizes


def only(corner: Window, size: Size) -> list[Window]:
    """Return the only part of an image that counts."""
    del size
    return [corner]


@pytest.mark.parametrize("subsampling", [0, 2])
def test_damage_is_seen_as_without_the_extension(subsampling: int, plain: Decoder) -> None:
    """Cut anywhere, or with a byte changed anywhere, a file gives the same pixels or the same words; windows or not."""
    decoder, rng = Decoder("rgb"), random.Random(1)
    file = encode(picture(4, 1, 40, 56), subsampling=subsampling, quality=80)
    files = [file[:length] for length in range(0, len(file), 9)]
    for _ in range(400):
        at = rng.randrange(len(file))
        files.append(file[:at] + bytes([rng.randrange(256)]) + file[at + 1 :])
    failures = 0
    for damaged in files:
        expected, found = decoded_plainly(plain, damaged), attempt(decoder, damaged)
        if isinstance(expected, str):
            failures += 1
            assert expected == found
            with pytest.raises(ItemError) as caught:
                decoder.decode(damaged, None, lambda _: [Window(0, 0, 8, 8)])
            assert expected == str(caught.value)
        else:
            assert isinstance(found, np.ndarray)
            assert np.array_equal(expected, found)
            corner = Window(0, 0, *(min(side, 8) for side in expected.shape[:2]))
            part = decoder.decode(damaged, None, partial(only, corner))
            assert np.array_equal(corner.of(expected), corner.of(part))
    assert failures > len(files) // 8


def test_a_lack_of_memory_for_planes_makes_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """simplejpeg, which needs no planes, decodes the file then; and a cache leaves the image to the way without it."""

    class Lacking:
        """numpy, without memory."""

        def __getattr__(self, name: str) -> object:
            return getattr(np, name)

        def empty(self, size: int, dtype: type[np.uint8]) -> Pixels:
            if size:
                raise MemoryError
            return np.empty(size, dtype)

    file = encode(picture(1, 0, 120, 160), subsampling=2)
    expected = Decoder("rgb").decode(file).copy()
    decoder, painter = planes.PlaneDecoder(MIN_PIXELS), planes.Painter()
    found = decoder.decode(file)
    assert found is not None
    monkeypatch.setattr(planes, "np", Lacking())
    assert np.array_equal(expected, Decoder("rgb").decode(file))
    assert planes.PlaneDecoder(MIN_PIXELS).decode(file) is None
    with pytest.raises(ItemError, match="not enough memory for 57600 bytes"):
        painter.pixels(found, lambda _: None)


@pytest.mark.parametrize("side", [100, int(MIN_PIXELS**0.5) + 1])
@pytest.mark.parametrize("extension", [planes.EXTENSION, None], ids=["extension", "none"])
def test_patches_that_do_not_fit_fail_as_a_transform(
    side: int, extension: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the image's size and the host: where its windows lie is asked while it is decoded."""
    monkeypatch.setattr(decode, "EXTENSION", extension)
    pixels: Pixels = picture(5, 0, side, side)
    (tmp_path / "a.jpg").write_bytes(encode(pixels, subsampling=2))
    transform = {"patch": {"kind": "scattered", "height": side - 10, "width": side - 10}}
    [failure] = run(tmp_path, transform, make_task(["a.jpg"]), patches=4).failures
    assert ("transform", "4 patches of ") == (failure.kind, failure.reason[:13])


@pytest.mark.parametrize("vectors", [1, 2])
def test_processors_without_vectors_are_left_to_libjpeg(vectors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its colours have vectors for every processor, and in plain C ours take longer than all else of decoding."""
    extension = SimpleNamespace(VECTORS=vectors)
    monkeypatch.setattr(planes, "load_extension", lambda: extension)
    assert (extension if vectors > 1 else None) is planes.extension_with_vectors()


def test_small_images_are_left_to_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes less time for them."""
    monkeypatch.undo()
    sizes, whole = count_decoded(monkeypatch), list[Size]()
    usual = partial_jpeg.decode_whole

    def counted(data: bytes, out: Pixels, reduction: int) -> bool:
        whole.append((out.shape[0], out.shape[1]))
        return usual(data, out, reduction)

    monkeypatch.setattr(decode, "decode_whole", counted)
    for side in (150, 170, 220, 230):
        for subsampling in (0, 2):
            Decoder("rgb").decode(encode(picture(6, 0, side, side), subsampling=subsampling))
    assert [(170, 170), (220, 220), (230, 230)] == sizes
    assert [(230, 230)] == whole
