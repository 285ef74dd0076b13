"""An output whose writer is killed at any system call, or whose pieces a power cut tears, is continued."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.hdf5.outputs import (
    ONE_AND_MANY,
    SHARDED,
    SOME_AND_MORE,
    FaultyDisk,
    Killed,
    calls,
    output_config,
    write,
)
from support.written import attributes, check_beginning, check_equal, contents

from penstock.protocol.wire import Array
from penstock.sink.output.paths import discard

pytestmark = pytest.mark.usefixtures("tiny_chunks")


@ONE_AND_MANY
@SOME_AND_MORE
def test_a_kill_at_any_system_call_loses_nothing_committed(
    changes: dict[str, Any], most: int, calm: dict[str, Array], tmp_path: Path
) -> None:
    """Before each call to the system in turn: the output reads as far as it is, and the next run ends with the same."""
    count = calls(tmp_path / "count", **changes)
    assert 60 < count
    for at in range(1, count + 1, max(1, count // most)):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        asked = output_config(folder, **changes)
        with pytest.raises(Killed):
            write(asked, FaultyDisk(at))
        if (folder / "out.h5").exists():
            check_beginning(calm, folder / "out.h5")
        write(asked, FaultyDisk())
        check_equal(calm, contents(folder / "out.h5"))
        assert attributes(folder / "out.h5")["complete"]
        assert not (folder / "out.h5.parts").exists()
        sizes = [len(contents(path)["item"]) for path in sorted(folder.glob("out-*.h5"))]
        assert ([12, 12, 3] if changes else []) == sizes
        shutil.rmtree(folder)


def test_a_kill_between_a_shards_last_piece_and_the_shard_leaves_no_larger_one(tmp_path: Path) -> None:
    """The run that continues makes the shard first: later pieces belong to the next."""
    asked, at = output_config(tmp_path, **SHARDED), 0
    while not (tmp_path / "out-00000.h5").exists():  # the last call before which there is no shard, but all its pieces
        discard(asked.output)
        at += 1
        with pytest.raises(Killed):
            write(asked, FaultyDisk(at))
    discard(asked.output)
    with pytest.raises(Killed):
        write(asked, FaultyDisk(at - 1))
    assert [] == list(tmp_path.glob("out-*.h5"))
    write(asked, FaultyDisk())
    assert [12, 12, 3] == [len(contents(path)["item"]) for path in sorted(tmp_path.glob("out-*.h5"))]


def test_parts_that_a_kill_left_beside_a_finished_output_go(tmp_path: Path) -> None:
    """But not what another program has put there."""
    write(output_config(tmp_path), FaultyDisk())
    parts = tmp_path / "out.h5.parts"
    parts.mkdir()
    (parts / "piece-000000000000.h5").touch()
    (parts / "mine.txt").touch()
    write(output_config(tmp_path), FaultyDisk())
    assert ["mine.txt"] == [path.name for path in parts.iterdir()]


def test_torn_pieces_are_made_again(calm: dict[str, Array], tmp_path: Path) -> None:
    """A power cut may leave what fsync promised not to: everything from there on is written anew."""
    write(output_config(tmp_path), FaultyDisk(), upto=24)
    parts = tmp_path / "out.h5.parts"
    first, second, third, *_ = sorted(parts.glob("piece-*.h5"))
    second.write_bytes(second.read_bytes()[:200])
    (parts / "piece-000000000099.h5.tmp").write_text("torn")
    write(output_config(tmp_path), FaultyDisk())
    check_equal(calm, contents(tmp_path / "out.h5"))
    assert not first.exists()
    assert not third.exists()
