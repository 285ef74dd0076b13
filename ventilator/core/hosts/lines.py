"""The workers with a free slot, by host, in the order in which they are served. No I/O.

`workers.py` keeps one line of all workers; these stand next to it while it matters where work is done. Each step
costs the same, however many workers there are.
"""

from collections import OrderedDict
from collections.abc import Iterator


class HostLines:
    """A line for each host."""

    def __init__(self) -> None:
        """Start without workers."""
        self._at: dict[str, OrderedDict[bytes, None]] = {}

    def enter(self, host: str, peer: bytes) -> None:
        """Let a worker stand at the end of its host's line, if it does not stand there already."""
        line = self._at.get(host)
        if line is None:
            line = self._at[host] = OrderedDict()
        line[peer] = None

    def leave(self, host: str, peer: bytes) -> None:
        """Take a worker out of the line."""
        line = self._at.get(host)
        if line is not None:
            line.pop(peer, None)
            if not line:
                del self._at[host]

    def turn(self, host: str, peer: bytes) -> None:
        """Let a worker go to the end of its line."""
        self._at[host].move_to_end(peer)

    def at(self, host: str) -> Iterator[bytes]:
        """Yield the workers of a host's line."""
        return iter(self._at.get(host, ()))

    def __iter__(self) -> Iterator[bytes]:
        """Yield all workers."""
        for line in self._at.values():
            yield from line
