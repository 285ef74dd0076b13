"""A disk that is full while a file is written, and has space again later: nothing committed is harmed or lost."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.streams import Batch, digest, epochs, make_images, make_spec, make_stream, run_stack, until
from support.written import Run, check_beginning, check_equal, contents, run_to_end, write_spec

pytestmark = [
    pytest.mark.integration,
    pytest.mark.chaos,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small tmpfs: needs root"),
]

#: Size (MB) of the disk; the file takes 14 MB, and as much again while it is put together.
DISK_MB = 40


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a small disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={DISK_MB}m"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return a spec of 3,600 samples."""
    root = make_images(tmp_path_factory.mktemp("photos"), each=50)
    return make_spec(root, train=make_stream(patches=36))


def ballast(disk: Path, left_mb: float) -> Path:
    """Fill a disk but for some MB; return the file to remove."""
    status = os.statvfs(disk)
    path = disk / "ballast"
    path.write_bytes(bytes(int(status.f_bavail * status.f_frsize - left_mb * 1e6)))
    return path


@pytest.mark.parametrize("left_mb", [0.0, 5.0, 20.0], ids=["at once", "while it is written", "at the end"])
def test_a_full_disk_ends_in_words_and_the_same_command_goes_on(
    left_mb: float, spec: dict[str, Any], disk: Path, tmp_path: Path
) -> None:
    """The file that there was no room for is named; what is committed reads; with space, the end is the same."""
    path = write_spec(tmp_path / "spec.json", spec)
    calm, output = tmp_path / "calm.h5", disk / "out.h5"
    options = ("--piece-mb", "1", "--piece-s", "0.5")
    run_to_end(path, calm, *options)
    expected = contents(calm)
    filled = ballast(disk, left_mb)
    run = Run(path, output, *options, run_dir=tmp_path / "run")
    status, said = run.end()
    assert 2 == status, said
    assert "No space left on device" in said
    assert "free some space there, then give the same command" in said
    assert str(disk) in said
    committed = check_beginning(expected, output) if output.exists() else 0
    assert committed >= left_mb * 1e6 // 4000 // 2, "what there was room for is committed"
    filled.unlink()
    status, said = Run(path, output, *options, run_dir=tmp_path / "run").end()
    assert 0 == status, said
    check_equal(expected, contents(output))
    assert ["out.h5"] == [entry.name for entry in disk.iterdir()]


def test_beside_a_full_disk_trainers_wait_and_lose_nothing(spec: dict[str, Any], disk: Path, tmp_path: Path) -> None:
    """The sink says what it waits for, and goes on by itself when there is space."""
    output = disk / "out.h5"
    with run_stack(spec, workers=2) as stack:
        expected = digest(epochs(stack.feed(), 1))
    filled = ballast(disk, 3.0)
    writer = {"writer": "hdf5", "output": str(output), "wait_for_trainers": 1, "piece_mb": 1.0}
    with run_stack(spec, workers=2, sink=writer, run_dir=tmp_path / "run") as stack:
        feed = stack.feed(timeout_s=300.0)
        got: list[Batch] = []
        trainer = threading.Thread(target=lambda: got.extend(epochs(feed, 1)))
        trainer.start()

        def full() -> bool:
            said = stack.status()["sink"].get("writer") or {}
            return "No space left on device" in said.get("why", "") and bool(said["held_up_by_writer"])

        until(full, "the disk to be full")
        assert trainer.is_alive(), "the trainer waits"
        filled.unlink()
        trainer.join(120.0)
        until(lambda: (stack.status()["sink"].get("writer") or {}).get("state") == "finished", "the file")
    assert expected == digest(got)
    log = (tmp_path / "run" / "sink.log").read_text()
    assert "disk full" in log
    assert "disk has space again" in log
    rows = contents(output)
    assert 3600 == len(rows["label"])
