"""Fixtures of tests that write outputs: small chunks, a fast folder, and what an undisturbed run writes."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.hdf5.outputs import (
    PLAN,
    FaultyDisk,
    arrays,
    output_config,
    write,
)
from support.written import contents

from penstock.protocol.wire import Array


@pytest.fixture
def tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let four samples of these tests make a chunk; let no wait last."""
    monkeypatch.setattr("penstock.sink.output.layout._LARGE_BYTES", 4)
    monkeypatch.setattr("penstock.sink.output.layout._CHUNK_BYTES", 16)
    monkeypatch.setattr("penstock.sink.output.durable_files._AGAIN_S", 0.001)
    monkeypatch.setattr("penstock.sink.output.durable_files._LOCK_S", 0.05)
    monkeypatch.setattr("penstock.sink.output.open_readers._GRACE_S", 0.0)
    monkeypatch.setattr("penstock.sink.output.output._READERS_S", 0.05)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory, where there is one: disks take their time to sync."""
    if not os.access("/dev/shm", os.W_OK):  # noqa: S108 - not to be guessed
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def calm(tmp_path: Path) -> dict[str, Array]:
    """Return what an undisturbed run writes."""
    folder = tmp_path / "calm"
    folder.mkdir()
    write(output_config(folder), FaultyDisk())
    found = contents(folder / "out.h5")
    for name, array in zip(("image", "label", "item", "patch"), arrays(PLAN), strict=True):
        np.testing.assert_array_equal(array, found[name])
    assert [f"{item}.jpg".encode() for item in range(PLAN.items)] == found["paths"].tolist()
    assert ([13], [b"13.jpg"]) == (found["quarantine/item"].tolist(), found["quarantine/path"].tolist())
    assert ["out.h5"] == [path.name for path in folder.iterdir()]
    return found
