"""Opens the host's cache of decoded images when a stream asks for it, and says what it does.

Without a folder that can hold it, a worker goes on without the cache: it makes the same samples, only more slowly.
"""

from collections.abc import Callable, Sequence

from penstock.protocol.instructions import Note
from penstock.protocol.plan import StreamPlan
from penstock.protocol.stats import MOST_LETTERS, CacheStats
from penstock.protocol.storage.cache_folder import CacheError
from penstock.worker.imaging.cache.images import Cache, CacheCounts
from penstock.worker.imaging.cache.store import Store


class DecodedImages:
    """A worker's cache of decoded images; the service's loop calls all methods."""

    def __init__(self, folder: str, most_gb: float | None, log: Callable[[Note], object]) -> None:
        """Take the folder and the most room of the settings; open nothing before a stream asks for it."""
        self._folder, self._most_gb, self._log = folder, most_gb, log
        self._limit_bytes = 0
        self._failed = False
        self._cache: Cache | None = None

    def open(self, plans: Sequence[StreamPlan]) -> Cache | None:
        """Return the cache that these streams share, if one of them asks for it and it can be had."""
        wanted = [plan.settings.cache for plan in plans]
        gb = sum(cache.gb for cache in wanted if cache is not None)
        self._limit_bytes = int((gb if self._most_gb is None else min(gb, self._most_gb)) * 1e9)
        if not self._limit_bytes:
            return None
        if self._cache is not None:
            self._cache.store.resize(self._limit_bytes)
        elif not self._failed:
            self._open()
        return self._cache

    def log_notes(self) -> None:
        """Log what the store has to say."""
        while self._cache is not None and self._cache.store.notes:
            self._log(Note(self._cache.store.notes.popleft(), {}, "warning"))

    def stats(self) -> CacheStats | None:
        """Return the counts since the worker started; None without a cache."""
        if self._cache is None:
            return None
        counts = self._cache.counts
        return CacheStats.model_construct(
            hits=counts.hits,
            misses=counts.misses,
            read_bytes=counts.read_bytes,
            written_bytes=counts.written_bytes,
            saved_s=counts.saved_s,
            held_bytes=self._cache.store.used_bytes(),
            limit_bytes=self._limit_bytes,
            stopped=self._cache.store.stopped[:MOST_LETTERS],
        )

    def close(self) -> None:
        """Give back what is reserved and was not used."""
        if self._cache is not None:
            self._cache.store.close()

    def _open(self) -> None:
        try:
            store = Store(self._folder, self._limit_bytes)
        except (CacheError, OSError) as error:
            self._failed = True
            text = "no cache of decoded images: every epoch decodes them again"
            self._log(Note(text, {"why": str(error)}, "warning"))
            return
        self._cache = Cache(store, CacheCounts())
        facts = {"folder": str(store.folder), "gb": self._limit_bytes / 1e9}
        self._log(Note("decoded images are kept", facts, "info"))
