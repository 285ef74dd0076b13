"""The process that decodes JPEG 2000: the same pixels, the same words, and no process left behind."""

import gc
import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
from PIL import Image
from support.images import encode, picture
from support.services.stalls import longest_gap
from support.streams import until

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder

PICTURE = Image.fromarray(picture(2, 1, 200, 300))
FILE = encode(PICTURE, "JPEG2000")


def children() -> set[int]:
    """Return the processes that this one has started: those of earlier tests may be gone at any moment."""
    return {child.pid for child in psutil.Process().children()}


def test_one_process_decodes_one_file_after_the_other_and_ends_with_the_decoder() -> None:
    """It is started by the first file; colours, size limits and orientation are the decoder's."""
    before = children()
    decoder = Decoder("rgb", exif_orientation=True)
    assert not children() - before
    assert np.array_equal(np.asarray(PICTURE), decoder.decode(FILE))
    started = children() - before
    assert 1 == len(started)
    assert np.array_equal(np.asarray(PICTURE), decoder.decode(FILE))
    assert started == children() - before
    assert (200, 300, 1) == Decoder("gray").decode(FILE).shape
    with pytest.raises(ItemError, match=r"the limit is 0\.05 "):
        Decoder("rgb", max_megapixels=0.05).decode(FILE)
    del decoder
    gc.collect()
    until(lambda: not children() - before, "the processes to end")


def test_a_damaged_or_cut_file_is_named_and_the_next_one_decodes() -> None:
    """OpenJPEG would leave what is missing gray."""
    decoder, failures = Decoder("rgb"), 0
    for length in range(0, len(FILE) - 1, len(FILE) // 40):
        with pytest.raises(ItemError, match=r"JPEG2000|JPEG 2000|not an image"):
            decoder.decode(FILE[:length])
        failures += 1
    assert failures > 30
    assert (200, 300, 3) == decoder.decode(FILE).shape


def test_a_process_that_is_killed_fails_one_item_at_most() -> None:
    """The next file starts another one."""
    before = children()
    decoder = Decoder("rgb")
    decoder.decode(FILE)
    (process,) = children() - before
    os.kill(process, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (process, signal.SIGKILL))
    killer.start()
    with pytest.raises(ItemError, match=r"ended the process that decodes \(exit status -9\)"):
        decoder.decode(FILE)
    killer.join()
    assert (200, 300, 3) == decoder.decode(FILE).shape


def test_a_process_that_does_not_answer_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the deadline, and by its item's failure."""
    before = children()
    decoder = Decoder("rgb")
    decoder.decode(FILE)
    (process,) = children() - before
    os.kill(process, signal.SIGSTOP)
    monkeypatch.setattr("penstock.worker.imaging.jpeg2000.process.DEADLINE_S", 0.2)
    with pytest.raises(ItemError, match=r"decoding takes longer than 0\.2 s"):
        decoder.decode(FILE)
    until(lambda: process not in children(), "the process to be killed")


def test_other_threads_run_while_a_large_file_is_decoded() -> None:
    """OpenJPEG holds the interpreter: 6 megapixels took other threads' turn for 3 s."""
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), np.uint8)
    data = encode(Image.fromarray(noise), "JPEG2000", irreversible=True, quality_layers=[20])
    decoder = Decoder("rgb")
    decoder.decode(FILE)
    took: list[float] = []

    def decode() -> None:
        began = time.monotonic()
        decoder.decode(data)
        took.append(time.monotonic() - began)

    assert longest_gap(decode) < max(0.5, took[0] / 2)
