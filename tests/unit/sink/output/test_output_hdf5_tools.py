"""HDF5's own tools read what an output writes."""

import shutil
import subprocess
from pathlib import Path

import pytest
from support.hdf5.outputs import (
    SHARDED,
    FaultyDisk,
    output_config,
    write,
)

from penstock.protocol.wire import Array

pytestmark = pytest.mark.usefixtures("tiny_chunks")


needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("h5dump", "h5ls", "h5diff"))), reason="needs h5dump, h5ls and h5diff (hdf5-tools)"
)


@needs_tools
def test_hdf5s_own_tools_read_and_compare_all_of_it(calm: dict[str, Array], tmp_path: Path) -> None:
    """They know nothing of us: a view over pieces, one over shards and a finished file are the same to them."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write(output_config(tmp_path / "a"), FaultyDisk())
    write(output_config(tmp_path / "b", **SHARDED), FaultyDisk())
    whole, view = tmp_path / "a" / "out.h5", tmp_path / "b" / "out.h5"
    for name in ("image", "label", "item", "patch", "epoch", "paths", "quarantine"):
        tool("h5diff", str(whole), str(view), f"/{name}", f"/{name}")
    listed = tool("h5ls", "-r", str(view))
    assert "/image                   Dataset {27, 1, 4, 1}" in listed
    assert "CHUNKED ( 4, 1, 4, 1 )" in tool("h5dump", "-p", "-H", "-d", "/image", str(whole))
    dumped = tool("h5dump", "-y", "-w", "0", "-d", "/item", str(view))
    assert ", ".join(map(str, calm["item"].tolist())) in dumped
    assert "VIRTUAL" not in tool("h5dump", "-H", str(whole))


def tool(*command: str) -> str:
    """Run one of the tools; return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
