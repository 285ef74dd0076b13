"""Counts what a store of whole shards does, for metrics."""

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class ShardCounts:
    """Sums since the store was opened; may be used by several threads at once."""

    #: Images that were read from kept shards, and those that were requested because theirs was not kept; bytes of both.
    hits: int = 0
    misses: int = 0
    read_bytes: int = 0
    requested_bytes: int = 0
    #: Shards that this process fetched, and that it removed to make room; bytes of both.
    fetched: int = 0
    fetched_bytes: int = 0
    removed: int = 0
    removed_bytes: int = 0
    #: Bytes that the folder held when room was made last, and that it may hold.
    held_bytes: int = 0
    limit_bytes: int = 0
    #: The folder: stores of one source on a host share it.
    folder: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, images: int, size: int, *, kept: bool) -> None:
        """Count images, of so many bytes together, that were read from a kept shard or requested."""
        with self._lock:
            if kept:
                self.hits += images
                self.read_bytes += size
            else:
                self.misses += images
                self.requested_bytes += size

    def fetch(self, size: int) -> None:
        """Count a shard that was fetched."""
        with self._lock:
            self.fetched += 1
            self.fetched_bytes += size

    def remove(self, size: int) -> None:
        """Count a shard that was removed to make room."""
        with self._lock:
            self.removed += 1
            self.removed_bytes += size
