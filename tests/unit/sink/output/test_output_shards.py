"""An output in shards: their sizes, and shards that are missing or left by another output."""

from pathlib import Path
from typing import Any

import pytest
from support.hdf5.outputs import (
    SHARDED,
    FaultyDisk,
    output_config,
    write,
)
from support.plans import make_plan
from support.written import check_equal, contents

from penstock.protocol.errors import OutputError
from penstock.protocol.wire import Array
from penstock.sink.output.output import Output

pytestmark = pytest.mark.usefixtures("tiny_chunks")


def test_shards_hold_what_was_asked_for_in_whole_chunks(calm: dict[str, Array], tmp_path: Path) -> None:
    """Each is a file of its own; the output opens all as one."""
    write(output_config(tmp_path, **SHARDED), FaultyDisk())
    check_equal(calm, contents(tmp_path / "out.h5"))
    shards = sorted(tmp_path.glob("out-*.h5"))
    assert ["out-00000.h5", "out-00001.h5", "out-00002.h5"] == [path.name for path in shards]
    assert [12, 12, 3] == [len(contents(path)["item"]) for path in shards]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (tmp_path / "out.h5", *shards):
        path.rename(moved / path.name)
    check_equal(calm, contents(moved / "out.h5"))


@pytest.mark.parametrize("changes", [{"shard_size": 4}, {"shard_size": 16}], ids=["smaller", "larger"])
def test_shards_of_another_size_without_their_view_are_refused_and_stay(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    """A user removed the output and left its shards: they are named, not mixed with others, nor overwritten."""
    write(output_config(tmp_path, **SHARDED), FaultyDisk())
    (tmp_path / "out.h5").unlink()
    before = (tmp_path / "out-00000.h5").read_bytes()
    with pytest.raises(OutputError, match=r"out-00000.h5: holds 12 samples, .*: ask for the same, or move it away"):
        write(output_config(tmp_path, **changes), FaultyDisk())
    assert before == (tmp_path / "out-00000.h5").read_bytes()


def test_shards_of_more_epochs_without_their_view_are_refused(tmp_path: Path) -> None:
    """There would be more than is asked for: the writer would stand behind its end, and wait for ever."""
    write(output_config(tmp_path, **SHARDED), FaultyDisk())
    (tmp_path / "out.h5").unlink()
    fewer = make_plan(items=20)
    with pytest.raises(OutputError, match=r"out-00001.h5: .* 12 a shard of 20 are asked for"):
        Output(output_config(tmp_path, **SHARDED), fewer, FaultyDisk(), lambda _: None)


def test_a_finished_output_whose_shard_is_gone_is_not_called_finished(tmp_path: Path) -> None:
    """HDF5 would read zeros for it, without a word."""
    write(output_config(tmp_path, **SHARDED), FaultyDisk())
    (tmp_path / "out-00001.h5").unlink()
    with pytest.raises(OutputError, match=r"finished, but its shard .*out-00001.h5 is gone .*--force"):
        write(output_config(tmp_path, **SHARDED), FaultyDisk())
