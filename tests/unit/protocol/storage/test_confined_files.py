"""`protocol/storage/confined_files.py` on systems whose kernel neither names open files nor opens them anew."""

import os
from pathlib import Path

import pytest

from penstock.protocol.errors import SourceError
from penstock.protocol.storage import confined_files


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take O_PATH and /proc away."""
    monkeypatch.setattr(confined_files, "_PROC", False)
    monkeypatch.setattr(confined_files, "FIND_FLAGS", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def test_a_file_within_the_root_is_opened(tmp_path: Path) -> None:
    """Through a link, too."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        descriptor = confined_files.open_below(str(tmp_path), name, allow_outside=False)
        assert b"content" == os.read(descriptor, 100)
        os.close(descriptor)


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    """And followed where that is allowed."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceError, match="leads outside its root"):
        confined_files.open_below(str(root), "link", allow_outside=False)
    os.close(confined_files.open_below(str(root), "link", allow_outside=True))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """No process writes to it: opening it to read would never return."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="not a file"):
        confined_files.open_below(str(tmp_path), "pipe", allow_outside=False)


def test_a_file_that_is_no_longer_where_its_path_leads_is_refused(tmp_path: Path) -> None:
    """It may have been swapped for a link between opening it and asking where it lies."""
    (tmp_path / "old").write_bytes(b"old")
    descriptor = os.open(tmp_path / "old", os.O_RDONLY)
    (tmp_path / "old").unlink()
    (tmp_path / "old").write_bytes(b"new")
    with pytest.raises(OSError, match="replaced while it was opened"):
        confined_files.opened_path(descriptor, str(tmp_path / "old"))
    os.close(descriptor)
