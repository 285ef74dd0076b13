"""Wall clocks that are wrong: processes see the time that a file tells, by libfaketime; monotonic clocks are right."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.streams import until

#: For how long libfaketime keeps what it has read (s): whole seconds of the clock that it tells.
_READ_S = 1


class Clock:
    """A clock that some processes go by."""

    def __init__(self, path: Path, step: str) -> None:
        """Begin a `step` away from the right time, such as "+3000d". Skips where libfaketime is not here."""
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
        if library is None:
            pytest.skip("NOT TESTED WITH WRONG CLOCKS: libfaketime is not here (Debian: apt-get install libfaketime)")
        self._path = path
        #: What a process needs in its environment.
        self.env: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            # Seldom, since libfaketime reads it unguarded: with "FAKETIME_NO_CACHE" one in a thousand readings of the
            # clock by two threads at once gives the true time.
            "FAKETIME_CACHE_DURATION": str(_READ_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self._write(step)

    def turn(self, step: str) -> None:
        """Put the clock right, or wrong in another way; return when the processes have noticed."""
        self._write(step)
        noticed = time.monotonic() + 2 * _READ_S + 1
        until(lambda: time.monotonic() > noticed, "processes to read the clock's file again")

    def _write(self, step: str) -> None:
        self._path.with_suffix(".new").write_text(f"{step}\n")
        self._path.with_suffix(".new").replace(self._path)
