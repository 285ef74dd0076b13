"""A terminal with a user: commands run as its foreground job, keys are pressed, all that is shown is kept.

Owns a pseudo-terminal. Knows nothing of the commands.
"""

import codecs
import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
from types import TracebackType
from typing import Self

from support.streams import until

CTRL_C = b"\x03"
#: Makes the terminal on standard input the session's own, so that Ctrl-C is a signal; then becomes the command.
_LOGIN = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
#: What moves the cursor or changes colours.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *command: str, columns: int = 100, rows: int = 40) -> None:
        """Start `python -m penstock` with these arguments."""
        self._here, there = os.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._usual = termios.tcgetattr(there)
        self._there = there
        #: All that was shown.
        self.shown = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode  # a character may come in two parts
        program = [sys.executable, "-c", _LOGIN, sys.executable, "-m", "penstock", *command]
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            program, stdin=there, stdout=there, stderr=there, env=environment, start_new_session=True
        )

    def __enter__(self) -> Self:
        """Return the terminal."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the command, if it still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self._here)
        os.close(self._there)

    def text(self, start: int = 0) -> str:
        """Return what was shown from `start` on, without escape sequences, spaces and lines run together."""
        while select.select([self._here], [], [], 0)[0]:
            self.shown += self._decode(os.read(self._here, 65_536))
        return " ".join(_ESCAPES.sub("", self.shown[start:]).split())

    def wait_for(self, pattern: str, start: int = 0) -> re.Match[str]:
        """Wait until something like `pattern` was shown from `start` on; return it."""
        try:
            found = until(lambda: re.search(pattern, self.text(start)), pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}; the terminal shows {self.text(start)[-2000:]!r}") from None
        assert found
        return found

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._here, keys)

    def ended(self) -> int:
        """Wait for the command's end; return its exit status."""

        def is_over() -> bool:
            """Return whether it is; output that is not read may block it."""
            self.text()
            return self.process.poll() is not None

        until(is_over, "its end")
        self.text()
        return self.process.wait()

    def is_as_before(self) -> bool:
        """Return whether the cursor can be seen and keys do what they did before the command."""
        cursor = re.findall(r"\x1b\[\?25[lh]", self.shown)
        return cursor[-1:] != ["\x1b[?25l"] and self._usual == termios.tcgetattr(self._there)
