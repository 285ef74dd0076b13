"""Ctrl-C for a command with much to clean up: it interrupts the work once, and never the cleaning up."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

#: Signals that ask a command in the foreground to end.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupted(status: int = 128 + signal.SIGINT) -> int:
    """Return the exit status of an interrupted command, once its KeyboardInterrupt was caught.

    CPython remembers an interrupt that struck inside `exec` (dataclasses and others use it), and `python -m` then ends
    by a signal of its own, whatever the program returns; the next `exec` makes it forget.
    """
    exec("")  # noqa: S102
    return status


@contextmanager
def held() -> Generator[None]:
    """Let Ctrl-C wait until this block has ended: for imports, which may turn KeyboardInterrupt into other errors.

    Some code catches whatever is raised in it (CPython's `__set_name__` of classes, weak references' callbacks).
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler in (None, signal.SIG_IGN, signal.SIG_DFL) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        signal.raise_signal(signal.SIGINT)


class Interrupts:
    """Takes the signals over for the rest of the process's life; for the main thread.

    >>> interrupts = Interrupts()                        # doctest: +SKIP
    >>> with ExitStack() as cleanup, interrupts.armed():
    ...     ...                                          # KeyboardInterrupt may be raised here, once
    """

    def __init__(self) -> None:
        """Remember the first signal from now on; raise nothing yet."""
        #: Number of the first signal that came; None as long as none did.
        self.seen: int | None = None
        self._armed = False
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    @property
    def status(self) -> int:
        """The exit status: 130 after Ctrl-C, 0 without a signal."""
        return 0 if self.seen is None else 128 + self.seen

    @contextmanager
    def armed(self) -> Generator[None]:
        """Let the first signal, also one that came before, raise KeyboardInterrupt in this block."""
        self._armed = True
        try:
            if self.seen is not None:
                self._raise()
            yield
        finally:
            self._armed = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.seen is None:
            self.seen = number
        if self._armed:
            self._raise()

    def _raise(self) -> None:
        self._armed = False
        raise KeyboardInterrupt
