"""A store of cached images that is dropped without being closed."""

import gc
import os
from contextlib import suppress
from pathlib import Path

from support.cache.entries import get, put

from penstock.worker.imaging.cache.store import Store


def test_a_store_that_nothing_refers_to_closes_its_files(tmp_path: Path) -> None:
    """A program that forgets to close it does not run out of descriptors."""
    opened = Store(str(tmp_path), 10**9)
    assert put(opened, 1)
    assert get(opened, 1) is not None
    assert open_below(tmp_path)
    del opened
    gc.collect()
    assert [] == open_below(tmp_path)


def open_below(folder: Path) -> list[str]:
    """Return the files below a folder that this process has open."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        with suppress(OSError):  # the listing's own
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 - as text
    return [each for each in found if each.startswith(str(folder.resolve()))]
