"""Small files that took gigabytes: decodes or opens each in a process of its own, and measures that.

`faults.py` prints what comes of it.
"""

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from support.deep_images import chunk, tiff

#: Decodes an image, or opens a data set; prints the growth of its memory (bytes), the longest that another thread
#: waited (s of this program's processor time), and what came of it.
_MEASURE = """
import sys, time
from penstock.protocol.errors import ItemError, SourceError
from penstock.sources.hdf5 import Hdf5Source, open_set
from penstock.worker.imaging.decode import Decoder
from support.services.peaks import begin_peak, peak_bytes
from support.services.stalls import longest_gap
folder, name = sys.argv[1:]
data, decoder, before = open(f"{folder}/{name}", "rb").read(), Decoder("rgb"), begin_peak()
found = "decoded"
def read():
    global found
    try:
        if name.endswith("h5"):
            open_set(Hdf5Source(kind="hdf5", root="data", path=name, labels=""), folder)
        else:
            decoder.decode(data)
    except (ItemError, SourceError) as error:
        found = "refused: " + str(error).replace(folder, "")
gap = longest_gap(read, time.process_time)
print(peak_bytes() - before, gap, found)
"""
#: Side of a PNG at the default limit of 100 megapixels, and of a WebP beyond it.
_PNG_SIDE, _WEBP_SIDE = 10_000, 16_383


def write_files(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Write each file; yield its name, what it is, and what it took before."""
    (folder / "tile.tif").write_bytes(tiff(list(range(16)), 8, tile=(40_000, 40_000)))
    yield "tile.tif", "TIFF of 16 pixels in a tile of 40,000 × 40,000", "1.6 GB"
    side = _WEBP_SIDE - 1
    body = b"\x2f" + struct.pack("<I", side | side << 14) + b"\x88\x88\x08\x00\x00"
    webp = b"WEBPVP8L" + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    (folder / "wide.webp").write_bytes(b"RIFF" + struct.pack("<I", len(webp)) + webp)
    yield "wide.webp", "WebP that claims 16,383 × 16,383", "4 GB; other threads stood still for 12 s"
    row, packer = bytes(1 + _PNG_SIDE // 8), zlib.compressobj()
    pixels = b"".join(packer.compress(row) for _ in range(_PNG_SIDE)) + packer.flush()
    header = struct.pack(">IIBBBBB", _PNG_SIDE, _PNG_SIDE, 1, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (folder / "large.png").write_bytes(png)
    yield "large.png", "PNG of one bit, 10,000 × 10,000: the default limit", "2.1 GB at the limit of then"
    with h5py.File(folder / "chunk.h5", "w") as file:
        rows = 170_000
        data = file.create_dataset("image", (rows, 64, 64, 3), np.uint8, chunks=(rows, 64, 64, 3), compression="gzip")
        packer, block = zlib.compressobj(1), bytes(64 * 64 * 3)
        packed = b"".join(packer.compress(block) for _ in range(rows)) + packer.flush()
        data.id.write_direct_chunk((0, 0, 0, 0), packed)
    yield "chunk.h5", "HDF5 file with a chunk of 2 GB", "2 GB and 14 s"


def measure(folder: Path, name: str) -> tuple[float, float, str]:
    """Return the growth in MB, the longest wait in seconds, and what came of it."""
    command = [sys.executable, "-c", _MEASURE, str(folder), name]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
    grew, waited, found = done.stdout.strip().split(maxsplit=2)
    return int(grew) / 1e6, float(waited), found
