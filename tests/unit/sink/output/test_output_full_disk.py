"""An output on a full disk, or on one that fails to sync: nothing is harmed, and the next run continues."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.hdf5.outputs import (
    ONE_AND_MANY,
    SOME_AND_MORE,
    FaultyDisk,
    calls,
    output_config,
    write,
)
from support.written import check_beginning, check_equal, contents

from penstock.protocol.errors import OutputError
from penstock.protocol.wire import Array

pytestmark = pytest.mark.usefixtures("tiny_chunks")


@ONE_AND_MANY
@SOME_AND_MORE
def test_a_disk_full_at_any_system_call_harms_nothing(
    changes: dict[str, Any], most: int, calm: dict[str, Array], tmp_path: Path
) -> None:
    """It ends in words that name the file and what to do; the next run ends with the same."""
    count = calls(tmp_path / "count", **changes)
    for at in range(1, count + 1, max(1, count // most)):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        asked = output_config(folder, **changes)
        with pytest.raises(OutputError, match=r": No space left on device: free some space there, then .* again"):
            write(asked, FaultyDisk(at, full=1))
        if (folder / "out.h5").exists():
            check_beginning(calm, folder / "out.h5")
        write(asked, FaultyDisk())
        check_equal(calm, contents(folder / "out.h5"))
        shutil.rmtree(folder)


def test_a_patient_writer_waits_for_space(calm: dict[str, Array], tmp_path: Path) -> None:
    """It says for what it waits, and when that is over; every byte is as if nothing had been."""
    count = calls(tmp_path / "count")
    for at in range(1, count, count // 8):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        disk = FaultyDisk(at, full=2, wait_s=60.0)
        write(output_config(folder), disk)
        check_equal(calm, contents(folder / "out.h5"))
        [why, end] = disk.told
        assert why.endswith(": No space left on device")
        assert "" == end


def test_a_file_that_cannot_be_put_together_is_not_begun(calm: dict[str, Array], tmp_path: Path) -> None:
    """What is missing is said in MB; what is committed reads; nothing is left lying about."""
    disk = FaultyDisk()
    asked = output_config(tmp_path)
    write(asked, disk, upto=24)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(OutputError, match=r"out.h5: No space left on device: 0 MB are needed, 0 MB are free: free"):
            write(asked, disk)
    assert 27 == check_beginning(calm, tmp_path / "out.h5")
    assert [] == list((tmp_path / "out.h5.parts").glob("*.tmp"))
    write(asked, disk)
    check_equal(calm, contents(tmp_path / "out.h5"))


@pytest.mark.parametrize("at", [0, 2, 5, 6, 16])
def test_what_the_disk_could_not_keep_is_never_asked_for_twice(
    at: int, calm: dict[str, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a sync that failed the system has dropped the data, and says yes to the next: it is written again."""
    folder = tmp_path / "synced"
    folder.mkdir()
    calls, sync = 0, os.fsync

    def fail_once(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_once)
        with pytest.raises(OutputError, match=r"the data written may be lost: No space .* give the same command"):
            write(output_config(folder), FaultyDisk(wait_s=60.0))
    assert at + 1 == calls
    write(output_config(folder), FaultyDisk())
    check_equal(calm, contents(folder / "out.h5"))
