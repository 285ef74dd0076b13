"""Hands events from a background thread to the training program, in order, then the error that ended them, if any.

Implements the waiting with a deadline; the threads that produce events live in other modules.
"""

import threading
from collections import deque
from collections.abc import Callable

from penstock.trainer.feed.supply import Event

#: Longest that `close` waits for a thread (s).
_CLOSE_S = 5.0


class Inbox:
    """Base of a feed's supplies: `_events` and `_failed` are guarded by `_changed`."""

    def __init__(self) -> None:
        """Start empty."""
        self._changed = threading.Condition()
        self._events: deque[Event] = deque()
        self._failed: BaseException | None = None

    def take(self, timeout_s: float, wanted: Callable[[], bool] = lambda: True) -> Event | None:
        """Return the next event, or None if none came within `timeout_s` seconds or it is not `wanted` any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._failed or not wanted(), timeout_s)
            if not wanted():
                return None
            if self._events:
                event = self._events.popleft()
                self._taken(event)
                return event
            if self._failed:
                raise self._failed
            return None

    def nudge(self) -> None:
        """Make a wait check again whether it is wanted."""
        with self._changed:
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Make every wait raise `error`, once the events that are here were taken."""
        with self._changed:
            self._failed = error
            self._changed.notify_all()

    @staticmethod
    def _join(thread: threading.Thread) -> None:
        """Wait until a thread has ended, unless it is the caller's own: the collector closes feeds on any thread."""
        if thread is not threading.current_thread():
            thread.join(_CLOSE_S)

    def _taken(self, event: Event) -> None:
        """Handle that an event is taken; `_changed` is held."""
