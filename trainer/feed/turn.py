"""`Turn`: the lock under which batches are taken, which the garbage collector may meet on the thread that holds it.

The collector runs inside any call, so it may close a dropped iteration, and move the feed back to the batch after the
last one yielded, on a thread that is taking a batch at that moment. Waiting for the lock there would be a deadlock, and
moving at once would tear what is being counted: the move is made when that thread has finished.
"""

import threading
from collections.abc import Callable


class Turn:
    """A lock, used by `with`, and moves that wait for their turn."""

    def __init__(self) -> None:
        """Start free."""
        self._lock = threading.RLock()
        #: Whether a thread is in the `with` block.
        self.taken = False
        self._later: Callable[[], None] | None = None

    def __enter__(self) -> None:
        """Wait until no other thread has the turn."""
        self._lock.acquire()
        self.taken = True

    def __exit__(self, *exception: object) -> None:
        """Make the move that was asked for meanwhile by this very thread, and let others in."""
        try:
            self.taken = False
            if later := self._later:
                self._later = None
                later()
        finally:
            self._lock.release()

    def run(self, move: Callable[[], None]) -> None:
        """Make a move once no other thread has the turn; on the thread that has it, at the end of the `with` block."""
        with self._lock:
            if self.taken:
                self._later = move
            else:
                self._later = None
                move()
