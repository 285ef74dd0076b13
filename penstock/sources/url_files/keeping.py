"""What keeps whole shards of a source on a worker's disk: how much room there is, and the store once it is open."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.protocol.storage.urls import Remote
from penstock.sources.url_files.shard_counts import ShardCounts
from penstock.sources.url_files.shard_store import ShardStore


@dataclass(frozen=True, slots=True)
class ShardRoom:
    """How much of a host's disk a source's whole shards may take."""

    #: Which source: its path below the root.
    source: str
    gb: float

    def open(self, remote: Remote, folder: str, most_gb: float | None) -> ShardStore:
        """Return the source's store in a folder, which takes no more than `most_gb` if given. Raises CacheError."""
        gb = self.gb if most_gb is None else min(self.gb, most_gb)
        return ShardStore(remote, self.source, int(gb * 1e9), folder)


class ShardKeeping:
    """Base of readers below a URL that may keep whole shards."""

    def __init__(self, remote: Remote, room: ShardRoom | None) -> None:
        """Keep none yet; none at all without `room`."""
        self._remote, self._room = remote, room
        self._shards: ShardStore | None = None

    def keep_shards(self, folder: str, most_gb: float | None = None) -> None:
        """Keep whole shards in a folder of this host, if the source gives room for them. Raises CacheError."""
        if self._room is not None:
            self._shards = self._room.open(self._remote, folder, most_gb)

    @property
    def counts(self) -> Sequence[ShardCounts]:
        """What the store of kept shards does."""
        return () if self._shards is None else (self._shards.counts,)

    @property
    def notes(self) -> deque[str]:
        """What the log should say of kept shards."""
        return deque() if self._shards is None else self._shards.notes
