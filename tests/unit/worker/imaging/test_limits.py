"""Attacks on memory and time by small files: what is refused, and what the rest takes at most."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.deep_images import tiff

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.limits import COSTS, check_size, most_bytes

#: Writes a file of one colour in a process of its own, so that no memory of this one counts.
WRITE = """
import io, sys
from PIL import Image
side, mode, image_format, path = int(sys.argv[1]), *sys.argv[2:5]
options = {"lossless": True, "method": 0} if image_format == "WEBP" else {}
Image.new(mode, (side, side)).save(path, image_format, **options)
"""
#: Decodes a file; prints the growth of its memory (bytes) and the longest that another thread waited: seconds in which
#: this program ran, so that others on the machine do not count.
MEASURE = """
import sys, time
from support.services.peaks import begin_peak, peak_bytes
from support.services.stalls import longest_gap
from penstock.worker.imaging.decode import Decoder
data = open(sys.argv[1], "rb").read()
decoder = Decoder("rgb")
before = begin_peak()
gap = longest_gap(lambda: decoder.decode(data), time.process_time)
print(peak_bytes() - before, gap)
"""


def run(program: str, *arguments: str) -> str:
    """Return what a program prints."""
    command = [sys.executable, "-c", program, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment).stdout


@pytest.mark.parametrize(
    ("image_format", "mode"),
    [("PNG", "1"), ("PNG", "RGBA"), ("PNG", "I;16"), ("GIF", "L"), ("WEBP", "RGB"), ("AVIF", "RGB"), ("JPEG", "CMYK")],
)
def test_a_small_file_takes_no_more_than_its_format_is_said_to(image_format: str, mode: str, tmp_path: Path) -> None:
    """16 megapixels from a few bytes: memory as the table says, and other threads get their turn."""
    file, side = tmp_path / "bomb", 4000
    run(WRITE, str(side), mode, image_format, str(file))
    memory, gap = map(float, run(MEASURE, str(file)).split())
    assert memory < COSTS[image_format].most * side * side + 20e6
    assert gap < 1.0


def test_a_tile_counts_as_an_image() -> None:
    """A TIFF of 16 pixels in one tile of 40,000 × 40,000: 1.6 GB for nothing. Usual tiles are fine under any limit."""
    decoder = Decoder("gray", max_megapixels=1.0)
    with pytest.raises(ItemError, match=r"tiles of 40000 × 40000 pixels, each 1,600\.0 megapixels; the limit is 1 "):
        decoder.decode(tiff(list(range(16)), 8, tile=(40_000, 40_000)))


@pytest.mark.parametrize("image_format", COSTS)
def test_no_format_takes_more_than_the_costliest_photos_of_the_default_limit(image_format: str) -> None:
    """100 megapixels of what one limit allows: 1.6 GB, whatever the format."""
    assert most_bytes(image_format, 100_000_000) <= 1_600_000_000


def test_formats_that_take_more_memory_have_a_part_of_the_limit() -> None:
    """Of a large limit; small ones hold for all formats alike."""
    check_size(10_000, 10_000, 100_000_000, "PNG")
    with pytest.raises(ItemError, match=r"100\.0 megapixels; the limit is 100, and for WEBP, .* memory, 50 "):
        check_size(10_000, 10_000, 100_000_000, "WEBP")
    check_size(1000, 1000, 1_000_000, "WEBP")
