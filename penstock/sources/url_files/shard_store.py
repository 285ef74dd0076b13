"""Keeps whole shards of a root that is a URL on this host's disk, for all workers of the host, up to a limit.

A shard is one file, named by its path and by what the server says of its content (size, ETag, time of change), so a
shard that was written anew is another file. It is fetched under another name, synced and renamed: a reader sees it
whole or not at all, whenever a worker is killed. The worker that fetches a shard holds the kernel's lock of the file;
the others wait for it, and take over if it dies. What was used longest ago is removed first.

The store never fails a training: where it cannot keep a shard, it says why, once, and the images are requested one by
one.
"""

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from penstock.protocol.errors import ItemError
from penstock.protocol.storage.cache_folder import CacheError, open_folder
from penstock.protocol.storage.url_answers import REPLACED, part_of
from penstock.protocol.storage.urls import Remote
from penstock.sources.url_files.pieces import bring
from penstock.sources.url_files.shard_counts import ShardCounts
from penstock.sources.url_files.shard_room import Room, lock

#: Name of the layout.
_LAYOUT = "penstock-shards-1"
#: Shards that a process fetches at once.
_SHARDS_AT_ONCE = 4
#: How often (s) a worker looks whether another one has fetched a shard; and after how long without a byte it gives up.
_LOOK_S, _STALL_S = 0.05, 60.0
#: Seconds for which a shard that could not be kept is not tried again, and in which a use is not told again.
_PAUSE_S, _TOUCH_S = 30.0, 1.0
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_CREATE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A whole shard on this host's disk, opened."""

    #: Of its file; the caller of `open` closes it.
    descriptor: int
    #: What tells the content that the file holds from another one, as the server says.
    tag: str

    def is_of(self, tag: str) -> bool:
        """Return whether this is the content with a tag; empty: any is."""
        return not tag or self.tag == tag


@dataclass(frozen=True, slots=True)
class _Shard:
    """What is known of a shard."""

    #: Name of its file in the store.
    name: str
    size: int
    #: What tells its content from another one, as the server says.
    tag: str


class ShardStore:
    """The kept shards of one source; may be used by several threads at once."""

    def __init__(self, remote: Remote, source: str, limit_bytes: int, folder: str = "") -> None:
        """Open the store of a `source`, which is its path below the root, in `folder`. Raises CacheError."""
        self._remote = remote
        digest = hashlib.sha256(f"{remote.name}\0{source}".encode()).hexdigest()[:32]
        self._folder = open_folder(folder, _LAYOUT) / digest
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise CacheError(f"cache folder {str(self._folder)!r} cannot be made: {error.strerror}") from error
        #: What the store does.
        self.counts = ShardCounts(limit_bytes=limit_bytes, folder=str(self._folder))
        self._room = Room(self._folder, limit_bytes, self.counts)
        self._fetching = threading.Semaphore(_SHARDS_AT_ONCE)
        #: Guards what follows; each shard has a lock of its own, held while it is looked for.
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[str, _Shard] = {}
        self._not_before: dict[str, float] = {}
        self._said: set[str] = set()
        #: What the log should say, each once.
        self.notes: deque[str] = deque()

    def open(self, path: str) -> OpenShard | None:
        """Return a whole shard, whose descriptor the caller closes; fetch it if need be. None: it is not kept.

        It bears the tag of what was opened: by the time that it is read, another content may be known of its path.
        """
        with self._lock:
            mine = self._locks.setdefault(path, threading.Lock())
            shard = self._known.get(path)
        try:
            if shard is not None and (found := self._open(shard)) is not None:
                return found
            with mine:
                if time.monotonic() < self._not_before.get(path, 0.0):
                    return None
                shard = self._known.get(path) or self._look_up(path)
                found = self._open(shard)
                return found if found is not None else self._fetch(path, shard)
        except ItemError as error:
            self._pass_over(path, str(error))
        except OSError as error:
            self._pass_over(path, error.strerror or str(error))
        return None

    def read(self, path: str, limit_bytes: int, spans: Spans, tag: str = "") -> list[bytes | ItemError] | None:
        """Return parts of a shard, or why one cannot be had; None if the shard is not kept.

        With a `tag`, parts of another content of the shard are refused.
        """
        opened = self.open(path)
        if opened is None:
            return None
        try:
            if not opened.is_of(tag):
                return [ItemError(REPLACED) for _ in spans]
            found = [
                part_of(
                    memoryview(os.pread(opened.descriptor, min(length, limit_bytes), offset)),
                    offset,
                    (offset, length),
                    limit_bytes,
                )
                for offset, length in spans
            ]
        except OSError as error:
            self._pass_over(path, error.strerror or str(error))
            return None
        finally:
            os.close(opened.descriptor)
        self.counts.read(len(found), sum(len(each) for each in found if isinstance(each, bytes)), kept=True)
        return found

    def _look_up(self, path: str) -> _Shard:
        """Ask the server which content the shard has now. Raises ItemError."""
        identity = self._remote.identity(path)
        if not identity.tag:
            raise ItemError("the server tells neither an ETag nor a time of change, so that a change would not show")
        name = hashlib.sha256(f"{path}\0{identity.size}\0{identity.tag}".encode()).hexdigest()[:32]
        shard = _Shard(f"{name}.shard", identity.size, identity.tag)
        with self._lock:
            self._known[path] = shard
        return shard

    def _open(self, shard: _Shard) -> OpenShard | None:
        """Return a shard that is there, and tell that it was used."""
        try:
            descriptor = os.open(self._folder / shard.name, _OPEN)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        if status.st_size != shard.size:  # damaged by a crash of the host
            os.close(descriptor)
            with suppress(FileNotFoundError):
                (self._folder / shard.name).unlink()
            return None
        if time.time() - status.st_mtime > _TOUCH_S:
            with suppress(OSError):
                os.utime(descriptor)
        return OpenShard(descriptor, shard.tag)

    def _fetch(self, path: str, shard: _Shard) -> OpenShard | None:
        """Fetch a shard, or wait until another worker has. Raises ItemError and OSError."""
        part = self._folder / f".{shard.name}.part"
        while True:
            descriptor = os.open(part, _CREATE, 0o600)
            try:
                if self._locked(descriptor, part, shard) and _is_still(part, descriptor):
                    return self._fetch_into(descriptor, path, shard, part)
            finally:
                os.close(descriptor)
            if (found := self._open(shard)) is not None:
                return found

    def _locked(self, descriptor: int, part: Path, shard: _Shard) -> bool:
        """Return True with the lock of a part, or False once its shard is there. Raises ItemError if nothing comes."""
        while not lock(descriptor):
            if (self._folder / shard.name).exists():
                return False
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > _STALL_S:
                    raise ItemError(f"another worker fetches it, and nothing came for {_STALL_S:g} s")
            time.sleep(_LOOK_S)
        return True

    def _fetch_into(self, descriptor: int, path: str, shard: _Shard, part: Path) -> OpenShard | None:
        """Fill the locked part, and rename it. Raises ItemError and OSError."""
        if (found := self._open(shard)) is not None:
            part.unlink()
            return found
        try:
            if not self._room.take(descriptor, shard.size):
                part.unlink()
                self._pass_over(
                    path, "there is no room for it next to the shards in use; cache_gb may be too small", say=False
                )
                return None
            with self._fetching:
                bring(self._remote, path, descriptor, [(0, shard.size)], shard.tag)
            self._check_unchanged(path, shard)
            os.fsync(descriptor)
            part.rename(self._folder / shard.name)
        except BaseException:
            with suppress(FileNotFoundError):
                part.unlink()
            raise
        self.counts.fetch(shard.size)
        return self._open(shard)

    def _check_unchanged(self, path: str, shard: _Shard) -> None:
        """Raise ItemError if the server has another content by now."""
        if self._look_up(path) != shard:
            raise ItemError("it was changed while it was fetched")

    def _pass_over(self, path: str, why: str, *, say: bool = True) -> None:
        """Leave a shard to single requests for a while."""
        with self._lock:
            self._not_before[path] = time.monotonic() + _PAUSE_S
            self._known.pop(path, None)
            if why in self._said or not say:
                return
            self._said.add(why)
        self.notes.append(f"{self._remote.name}/{path} is not kept in {self._folder}: {why}; its images are requested")


def _is_still(part: Path, descriptor: int) -> bool:
    """Return whether an open part still has its name: the worker that had the lock may have renamed it."""
    try:
        return os.path.samestat(part.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
