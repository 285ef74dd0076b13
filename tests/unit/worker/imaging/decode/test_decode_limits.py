"""Limits on pixels and scans hold before memory or time is spent."""

import numpy as np
import pytest
from PIL import Image
from support.images import encode
from support.imaging.decoding import by_pillow, decode, photo, run_program

from penstock.protocol.errors import ItemError
from penstock.sources.image_formats import FORMATS

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


def test_markers_count_where_pillow_decodes_a_baseline_jpeg() -> None:
    """A file that libjpeg refused as it is may be anything; Pillow goes on after warnings, scan by scan."""
    data = encode(photo(height=450, width=670), comment=b"\xff\xda" * 1000)
    at = data.index(b"\xff\xc4")  # after the header that says that it is one
    with pytest.raises(ItemError, match=r"about 1001 scans over 0\.3 megapixels would take too long"):
        decode(data[:at] + b"\0" + data[at:], max_megapixels=0.35)
