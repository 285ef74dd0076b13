"""Lets streams keep whole shards of roots that are URLs on this host, and says what becomes of that.

Without a folder that can hold them, a worker goes on without: it makes the same samples from more requests.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from penstock.protocol.errors import PenstockError
from penstock.protocol.instructions import Note
from penstock.protocol.stats import ShardStats
from penstock.protocol.storage.cache_folder import CacheError
from penstock.sources.base import KeepsShards

if TYPE_CHECKING:
    from penstock.worker.imaging.parts.pipeline import AnyPipeline

#: What adds up over all stores of a worker.
_SUMS = (
    "hits",
    "misses",
    "read_bytes",
    "requested_bytes",
    "fetched",
    "fetched_bytes",
    "removed",
    "removed_bytes",
)


class KeptShards:
    """What the worker's settings say about whole shards."""

    def __init__(self, folder: str, most_gb: float | None, log: Callable[[Note], object]) -> None:
        """Take the folder of all caches, and the most room that this host gives whatever the spec says."""
        self._folder, self._most_gb, self._log = folder, most_gb, log
        #: The pipelines of the last look at notes, and those of their readers that keep shards.
        self._seen: tuple[AnyPipeline, ...] = ()
        self._keepers: list[KeepsShards] = []

    def open(self, pipeline: "AnyPipeline") -> "AnyPipeline":
        """Return the pipeline, which keeps whole shards from now on if its source gives room for them."""
        if self._most_gb == 0:
            return pipeline
        try:
            for reader in pipeline.readers:
                if isinstance(reader, KeepsShards):
                    reader.keep_shards(self._folder, self._most_gb)
        except (CacheError, OSError) as error:
            why = str(error) if isinstance(error, PenstockError) else error.strerror or str(error)
            self._log(Note("whole shards are not kept: their images are requested", {"why": why}, "warning"))
        return pipeline

    def log_notes(self, pipelines: "Iterable[AnyPipeline]") -> None:
        """Log what the stores have to say; called in each turn of the worker's loop."""
        if (seen := tuple(pipelines)) != self._seen:  # whether a reader keeps shards takes longer to find out
            readers = (reader for pipeline in seen for reader in pipeline.readers)
            self._seen, self._keepers = seen, [reader for reader in readers if isinstance(reader, KeepsShards)]
        for keeper in self._keepers:
            while keeper.notes:
                self._log(Note(keeper.notes.popleft(), {}, "warning"))

    @staticmethod
    def stats(pipelines: "Iterable[AnyPipeline]") -> ShardStats | None:
        """Return the counts of all stores together; None if there is none."""
        readers = (reader for pipeline in pipelines for reader in pipeline.readers)
        found = [counts for reader in readers if isinstance(reader, KeepsShards) for counts in reader.counts]
        if not found:
            return None
        folders = {counts.folder: counts for counts in found}.values()  # one for all parts that share a store
        sums = {name: sum(getattr(counts, name) for counts in found) for name in _SUMS}
        held, limit = (sum(getattr(counts, name) for counts in folders) for name in ("held_bytes", "limit_bytes"))
        return ShardStats.model_validate({**sums, "held_bytes": held, "limit_bytes": limit})
