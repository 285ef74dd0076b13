"""Image files of any depth, byte by byte from their formats' definitions: TIFF, PNG, PGM and JPEG 2000."""

import io
import struct
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image


def packed(samples: Sequence[int], bits: int) -> bytes:
    """Return samples of so many bits, the first in the highest bits, filled up to whole bytes."""
    text = "".join(format(sample, f"0{bits}b") for sample in samples)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def tiff(
    samples: Sequence[int],
    bits: int,
    *,
    order: str = "<",
    white_is_zero: bool = False,
    sample_format: int = 1,
    tile: tuple[int, int] | None = None,
    rows: int = 1,
) -> bytes:
    """Return a gray TIFF; whole bytes in `order`, others packed; `tile` is the tiles' (width, height)."""
    types = {8: "u1", 16: "u2", 32: "u4"}
    data = np.array(samples).astype(order + types[bits]).tobytes() if bits in types else packed(samples, bits)
    places = [(322, 4, tile[0]), (323, 4, tile[1])] if tile else [(278, 3, 1)]
    tags = sorted(
        [
            (256, 3, len(samples) // rows),
            (257, 3, rows),
            (258, 3, bits),
            (259, 3, 1),
            (262, 3, 0 if white_is_zero else 1),
            (277, 3, 1),
            (324 if tile else 273, 4, 8),
            (325 if tile else 279, 4, len(data)),
            (339, 3, sample_format),
            *places,
        ]
    )
    directory = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        directory += struct.pack(order + ("HHIHH" if kind == 3 else "HHII"), tag, kind, 1, value, *([0] * (kind == 3)))
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HI", 42, 8 + len(data)) + data + directory + bytes(4)


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(samples: Sequence[int], bits: int) -> bytes:
    """Return a gray PNG of one row."""
    header = struct.pack(">IIBBBBB", len(samples), 1, bits, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" + packed(samples, bits))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def pgm(samples: Sequence[int], most: int, *, text: bool = False) -> bytes:
    """Return a gray PGM of one row, whose white is `most`."""
    if text:
        return b"P2 %d 1 %d\n" % (len(samples), most) + " ".join(map(str, samples)).encode() + b"\n"
    return b"P5 %d 1 %d\n" % (len(samples), most) + np.array(samples, ">u2" if most > 255 else "u1").tobytes()


def jpeg2000(samples: Sequence[int], bits: int, *, boxes: bool = False) -> bytes:
    """Return a gray, lossless JPEG 2000 file of one row.

    Pillow writes 16 bits; what it writes is moved so that, under a header of fewer bits, it stands for these samples.
    """
    moved = (np.array(samples) + (1 << 15) - (1 << (bits - 1))).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(moved[np.newaxis]).save(file, "JPEG2000", no_jp2=not boxes)
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\x51") + 40
    assert 15 == data[at]
    data[at] = bits - 1
    if boxes:
        data[data.index(b"ihdr") + 14] = bits - 1
    return bytes(data)


def colour_jpeg2000(samples: npt.NDArray[np.int64], bits: int) -> bytes:
    """Return a lossless JPEG 2000 file in colour (height and width of 64 or more), moved in the same way."""
    moved = (samples + (1 << 15) - (1 << (bits - 1))).astype(np.uint16)
    done, buffer = cv2.imencode(".jp2", moved[..., ::-1], [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    assert done
    data = bytearray(buffer.tobytes())
    at = data.index(b"\xff\x51") + 40
    for component in range(samples.shape[2]):
        data[at + 3 * component] = bits - 1
    data[data.index(b"ihdr") + 14] = bits - 1
    return bytes(data)
