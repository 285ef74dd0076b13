"""A trainer's memory over thousands of epochs: what a feed keeps of each one is bounded."""

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.streams import run_stack

from penstock.trainer.feed.batch_feed import BatchFeed
from penstock.trainer.hdf5.feed import Hdf5Feed

pytestmark = pytest.mark.integration

#: Epochs before the first measurement, in which caches fill, and after it.
WARM, MORE = 300, 1000
#: What those may add (bytes); an account of each would be 1.3 kB an epoch: 1,300,000.
MOST_BYTES = 700_000


def run_epochs(feed: BatchFeed[Any], count: int) -> int:
    """Run some epochs; return the bytes that Python has allocated since the trace was begun."""
    for _ in range(count):
        assert len(list(feed)) == 2
    gc.collect()
    return tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0


def check(feed: BatchFeed[Any]) -> None:
    """Check that more epochs take no more memory, and that the accounts are those of the last ones."""
    run_epochs(feed, WARM)
    tracemalloc.start()
    try:
        assert MOST_BYTES > run_epochs(feed, MORE)
    finally:
        tracemalloc.stop()
    assert list(range(WARM + MORE - 100, WARM + MORE)) == [account.epoch for account in feed.epochs]
    assert {8} == {account.delivered for account in feed.epochs}


@pytest.mark.slow
def test_a_feed_of_a_stack_does_not_grow() -> None:
    """Eight images of 4×4 pixels, over and over."""
    source = {"kind": "arrays", "images": np.zeros((8, 4, 4, 3), np.uint8), "labels": np.arange(8)}
    stream = {"source": source, "transform": {"resize": {"height": 4, "width": 4}}, "batch_size": 4}
    with run_stack({"streams": {"train": stream}}, workers=1) as stack, stack.feed() as feed:
        check(feed)


def test_a_feed_of_a_file_does_not_grow(tmp_path: Path) -> None:
    """The same from an HDF5 file."""
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["image"] = np.zeros((8, 4, 4, 3), np.uint8)
    with Hdf5Feed(tmp_path / "rows.h5", batch_size=4) as feed:
        check(feed)
