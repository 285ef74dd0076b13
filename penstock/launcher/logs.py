"""Keeps the log files of running services short: a large one is copied to `NAME.log.1` and emptied."""

import shutil
from contextlib import suppress
from pathlib import Path

from penstock.protocol.transport.own_files import open_own

#: Size (bytes) at which a log is emptied; with its predecessor it takes twice that at most, and a little.
MOST_BYTES = 32_000_000


def limit_log(log: Path, most_bytes: int = MOST_BYTES) -> None:
    """Move what a log holds to `NAME.log.1`, in place of what is there, if the log is large.

    The service that writes it has it open for appending, so it goes on at the start. A line that it writes between the
    end of the copy and the emptying is lost: microseconds, once for every 32 MB. Where the copy cannot be made (a full
    disk) the log grows on.
    """
    with suppress(OSError):
        if log.stat().st_size < most_bytes:
            return
        older = log.with_name(f"{log.name}.1")
        with suppress(FileNotFoundError):
            older.unlink()
        with log.open("rb+") as file, open_own(older, "xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            file.truncate(0)
