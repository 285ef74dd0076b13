"""What waits for a link to a server that is known by its name.

ZeroMQ would keep it for one address; what waits here goes to whatever the name stands for once there is a link.
"""

from collections import deque
from typing import Any

from penstock.protocol.transport.multipart import Multipart
from penstock.protocol.transport.socket_options import HIGH_WATER


class Held:
    """Messages in their order; as many as ZeroMQ would queue for one peer."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._messages: deque[list[Any]] = deque()

    def add(self, frames: list[Any]) -> bool:
        """Hold one more message; return False if there are too many."""
        if len(self._messages) >= HIGH_WATER:
            return False
        self._messages.append(frames)
        return True

    def release(self, multipart: Multipart) -> None:
        """Send them, now that there is a link. Raises zmq.Again if there is no room for all."""
        while self._messages:
            multipart.send(self._messages[0], copy=True)
            self._messages.popleft()

    def drop(self) -> None:
        """Forget them."""
        self._messages.clear()
