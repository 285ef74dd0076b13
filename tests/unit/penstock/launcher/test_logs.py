"""Log files of a run stay short while the services that write them go on."""

import os
import stat
from pathlib import Path

from penstock.launcher.logs import limit_log


def test_a_log_that_is_written_to_stays_short(tmp_path: Path) -> None:
    """Its writer has it open for appending, as services do: the newest lines stand in the log and its predecessor."""
    log = tmp_path / "sink.log"
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for number in range(1000):
            os.write(written, f"{number:09}\n".encode())
            limit_log(log, 500)
            assert log.stat().st_size < 500
    finally:
        os.close(written)
    older = tmp_path / "sink.log.1"
    lines = (older.read_text() + log.read_text()).split()
    assert [f"{number:09}" for number in range(1000 - len(lines), 1000)] == lines
    assert 0o600 == stat.S_IMODE(older.stat().st_mode)


def test_a_log_that_cannot_be_copied_is_left(tmp_path: Path) -> None:
    """Nothing of it is lost."""
    log = tmp_path / "sink.log"
    log.write_text("words\n")
    (tmp_path / "sink.log.1").mkdir()
    limit_log(log, 1)
    limit_log(tmp_path / "none.log", 1)
    assert "words\n" == log.read_text()
