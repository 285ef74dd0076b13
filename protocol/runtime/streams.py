"""Standard input, output and error of commands and services: they may be closed, full, or lack characters.

The next file or socket would get the number of a closed stream, as one of `>&-`, and receive what is printed. So closed
streams are opened on /dev/null first.
"""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


def open_standard_streams() -> None:
    """Open closed streams on /dev/null, and escape characters that an output's encoding lacks."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode = os.O_RDONLY if name == "stdin" else os.O_WRONLY
        try:
            os.fstat(number)
        except OSError:
            found = os.open(os.devnull, mode)
            if found != number:  # a lower one is closed, too, where another thread is at work
                os.dup2(found, number)
                os.close(found)
            os.set_inheritable(number, True)  # noqa: FBT003 - its only form
        if getattr(sys, name) is None:
            stream = open(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - to the end
            setattr(sys, name, stream)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):  # where a program runs commands by itself, it may be something else
            output.reconfigure(errors="backslashreplace")


def give_output_up() -> None:
    """Discard what is left for standard output: its reader is gone or its disk full, and exit must not fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class ErrorStream:
    """Standard error as it is at each moment; what cannot be written is dropped: no log line is worth the process."""

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        stream: TextIO | None = sys.stderr
        with suppress(ValueError):  # it is closed
            return stream is not None and stream.isatty()
        return False

    def write(self, text: str) -> int:
        """Write, if that is possible."""
        stream: TextIO | None = sys.stderr
        if stream is not None:
            with suppress(OSError, ValueError):  # a pipe without a reader, a full disk; a closed stream
                stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, if that is possible."""
        stream: TextIO | None = sys.stderr
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
