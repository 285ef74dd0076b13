"""Damaged JPEGs decoded in part, and the checks that keep the extension inside its memory."""

import random
from pathlib import Path

import numpy as np
import pytest
from simplejpeg import decode_jpeg  # type: ignore[import-untyped]
from support.images import encode, picture
from support.imaging.jpeg_parts import (
    EXTENSION,
    SUBSAMPLINGS,
    by_extension,
    by_top_rows,
    frame_of,
    jpeg,
    large,
    needs_extension,
    parts,
    same,
)

from penstock.protocol.errors import ItemError
from penstock.worker.imaging import partial_jpeg
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.partial_jpeg import Box


def test_damage_counts_down_to_the_boxes_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data lost above or beside the boxes is named as for the whole file; what lies below is not looked at."""
    data = large(quality=95)
    broken = data[: len(data) // 2] + data[-2:]
    decoder = Decoder("rgb")
    with pytest.raises(ItemError) as caught:
        decoder.decode(broken)
    for extension in (EXTENSION, None):
        monkeypatch.setattr(partial_jpeg, "_EXTENSION", extension)
        assert decoder.size(broken) == (600, 700)
        upper, lower = [Box(100, 300, 50, 50)], [Box(400, 0, 50, 50)]
        assert same(decode_jpeg(data, "RGB"), decoder.decode_parts(broken, upper), upper)
        assert decoder.size(broken) == (600, 700)
        with pytest.raises(ItemError) as partly:
            decoder.decode_parts(broken, lower)
        assert str(caught.value) == str(partly.value)


def test_harmless_oddities_give_the_same_pixels() -> None:
    """Bytes after the end, and a comment full of markers, change nothing."""
    data, boxes = large(), [Box(250, 100, 30, 30)]
    expected = decode_jpeg(data, "RGB")
    for odd in (data + b"trailing" * 100, data + data, large(comment=b"\xff\xc0\xff\xda\xff\xd9" * 1000)):
        decoder = Decoder("rgb")
        assert decoder.size(odd) == (600, 700)
        assert same(expected, decoder.decode_parts(odd, boxes), boxes)


def mutants(count: int) -> list[bytes]:
    """Return damaged JPEGs, most of them in the entropy-coded data, that still have an end."""
    rng, found = random.Random(20_261_121), []
    originals = [jpeg(61, 83, each) for each in SUBSAMPLINGS]
    originals += [encode(picture(3, 0, 61, 83), subsampling=each, restart_marker_blocks=3) for each in (0, 1, 2)]
    for _ in range(count):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(2, len(data) - 2)
            data[at : at + rng.choice((0, 1, 1, 4))] = rng.choice((b"\xff", b"\0", b"\xff\xd9", rng.randbytes(2)))
        found.append(bytes(data))
    return found


@needs_extension
def test_both_ways_judge_damaged_files_alike() -> None:
    """Else a stream's bytes would depend on the host."""
    rng, accepted, refused = random.Random(5), 0, 0
    for data in mutants(4000):
        frame = partial_jpeg.frame_of(data)
        if frame is None or frame.height * frame.width > 1_000_000:
            continue
        top, left = rng.randrange(frame.height), rng.randrange(frame.width)
        boxes = [Box(top, left, rng.randint(1, frame.height - top), rng.randint(1, frame.width - left))]
        found, other = parts(by_extension, data, boxes), parts(by_top_rows, data, boxes)
        assert (found is None) == (other is None)
        if found is None or other is None:
            refused += 1
        else:
            accepted += 1
            assert same(found, other, boxes)
    assert min(accepted, refused) > 300, (accepted, refused)


def test_hostile_and_damaged_files_have_one_fate(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without the extension: the same pixels, or the same words."""
    files = [file.read_bytes() for file in sorted((shared_data / "odd").iterdir())]
    files += [data[: len(data) * part // 7] + data[-2:] for data in (large(), large(quality=98)) for part in range(7)]
    decoder, seen = Decoder("rgb", exif_orientation=True), 0
    for data in files:
        fates = []
        for extension in (EXTENSION, None):
            monkeypatch.setattr(partial_jpeg, "_EXTENSION", extension)
            try:
                size = decoder.size(data)
                boxes = [Box(size[0] // 3, size[1] // 3, 30, 30)] if size else []
                fates.append(decoder.decode_parts(data, boxes)[boxes[0].slices].tolist() if boxes else "whole")
            except ItemError as error:
                fates.append(str(error))
            seen += fates[-1] != "whole"
        assert fates[0] == fates[1]
    assert seen > 10


@needs_extension
@pytest.mark.parametrize(
    "box",
    [(-1, 0, 2, 2), (0, -1, 2, 2), (0, 0, 0, 2), (0, 0, 2, 0), (60, 0, 2, 2), (0, 82, 2, 2), (0, 0, 2**31 - 1, 2)],
)
def test_the_extension_refuses_boxes_outside_of_the_rows(box: tuple[int, int, int, int]) -> None:
    """Memory safety rests on this check alone, so it does not trust the caller."""
    data = jpeg(61, 83)
    out = np.zeros((61, 83, 3), np.uint8)
    at = frame_of(data).height_at
    with pytest.raises(ValueError, match="must lie inside"):
        EXTENSION.regions(data, at, 61, 83, np.array([box], np.int32), out, 3)


@needs_extension
def test_the_extension_refuses_too_little_room_and_another_size() -> None:
    """The output, the number of channels, the place of the height, and the size are checked against the file."""
    data = jpeg(61, 83)
    at = frame_of(data).height_at
    box, out = np.array([(0, 0, 10, 10)], np.int32), np.zeros(61 * 83 * 3, np.uint8)
    assert EXTENSION.regions(data, at, 61, 83, box, out, 3) is None
    for arguments in (
        (data, at, 61, 83, box, out[1:], 3),
        (data, at, 61, 83, box[:0], out, 3),
        (data, at, 61, 83, box, out, 4),
        (data, at, 0, 83, box, out, 3),
        (data, at, 70_000, 83, box, out, 3),
        (data, len(data), 61, 83, box, out, 3),
        (data, -1, 61, 83, box, out, 3),
    ):
        with pytest.raises(ValueError, match="must"):
            EXTENSION.regions(*arguments)
    assert "not the size that was told" == EXTENSION.regions(data, at, 61, 82, box, out, 3)
    assert "not baseline" == EXTENSION.regions(large(progressive=True), at, 61, 83, box, out, 3)
