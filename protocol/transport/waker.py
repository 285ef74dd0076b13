"""Wakes a service's loop out of its wait, from another thread or from a signal handler."""

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType


class Waker:
    """A pair of sockets: the loop waits for one end, anything else writes to the other."""

    def __init__(self) -> None:
        """Open both ends."""
        self.woken, self._waker = socket.socketpair()
        self.woken.setblocking(False)  # noqa: FBT003 - the standard library's
        self._waker.setblocking(False)  # noqa: FBT003

    def wake(self) -> None:
        """Make the loop's wait return; callable from any thread and from a signal handler."""
        with suppress(BlockingIOError, OSError):  # a full pipe wakes it anyway; a closed one has no loop any more
            self._waker.send(b"\0")

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until `wake` is called: then the next wait of the loop returns at once."""
        poller = select.poll()
        poller.register(self.woken, select.POLLIN)
        poller.poll(seconds * 1000)

    def clear(self) -> None:
        """Read what has been written, so that the loop can wait again."""
        with suppress(BlockingIOError):
            while self.woken.recv(4096):
                pass

    def handle_signals(self, stop: Callable[[], None]) -> None:
        """Call `stop` at the first SIGTERM or SIGINT; exit at once at the second. Main thread only."""
        seen: list[int] = []

        def handle(number: int, _frame: FrameType | None) -> None:
            if seen:
                os._exit(128 + number)
            seen.append(number)
            stop()
            self.wake()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handle)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def close(self) -> None:
        """Close both ends."""
        with suppress(ValueError):  # only the main thread may, and only it has set it
            signal.set_wakeup_fd(-1)
        self.woken.close()
        self._waker.close()
