"""The store of cached images that all workers of a host share: one file an image, in a folder on a local disk.

Files are written under another name and renamed, so a reader sees an entry whole or not at all, whenever a writer is
killed; what a crash of the host tears, the checksum recognises. There is no index, no server and no lock to read.
`budget.py` keeps the folder below its limit. An error of the disk is never an error of the training: the store stops
growing for a while and says why, once.
"""

import os
import secrets
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from penstock.worker.imaging.cache.budget import Ages, Budget
from penstock.worker.imaging.cache.entry import HEADER_BYTES, Entry, Pixels, pack, unpack
from penstock.worker.imaging.cache.folder import USED, on_disk, open_folder

#: Seconds after which a hit renews an entry's time of use, and a worker that of its group.
_RENEW_S, _TOUCH_S = 600.0, 60.0
#: Seconds for which the store does not grow after an error, and after it was full.
_PAUSE_S, _FULL_S = 60.0, 5.0
#: No single image takes more than this part of the limit.
_LARGEST = 8
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class User(Protocol):
    """A stream that uses the store."""

    @property
    def group(self) -> str:
        """The group of its images."""
        ...


class Store:
    """This process's access to the store; `get` and `put` may run on different threads."""

    def __init__(self, folder: str, limit_bytes: int, ages: Ages = Ages()) -> None:  # noqa: B008 - immutable
        """Open the store in `folder` (empty: this user's cache folder), which is to hold so much. Raises CacheError."""
        self.folder: Path = open_folder(folder)
        self._budget = Budget(self.folder, limit_bytes, ages)
        #: Guards the budget.
        self._lock = threading.Lock()
        self._closed_until = 0.0
        self._touched = -_TOUCH_S
        #: The groups that streams of this process use; all of them stay in use while one of them is used.
        self._users: weakref.WeakSet[User] = weakref.WeakSet()
        self._token = secrets.token_hex(8)
        self._said: set[str] = set()
        self._written = 0
        #: What the log should say, each once: why the store does not grow.
        self.notes: deque[str] = deque()

    def add_user(self, user: User) -> None:
        """Keep a user's group from counting as unused, for as long as the user lives and any group is used."""
        with self._lock:
            self._users.add(user)
            self._touched = -_TOUCH_S

    def resize(self, limit_bytes: int) -> None:
        """Set how much the store may hold."""
        with self._lock:
            self._budget.limit_bytes = limit_bytes

    def close(self) -> None:
        """Give back what is reserved."""
        with self._lock:
            self._budget.close()

    def used_bytes(self) -> int:
        """Return how many bytes this host's store takes, about."""
        with self._lock:
            return self._budget.used_bytes()

    def get(self, group: str, key: bytes, identity: bytes) -> Entry | None:
        """Return the entry of a key if it is whole and of this identity."""
        path = self._path(group, key)
        try:
            descriptor = os.open(path, _READ)
        except OSError:  # none yet, or not to be had: the image is decoded
            return None
        try:
            status = os.fstat(descriptor)
            content = np.empty(status.st_size, np.uint8)
            if os.readv(descriptor, [content.data]) != len(content):
                return None
            if time.time() - status.st_mtime > _RENEW_S:
                os.utime(descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        self._touch()
        return unpack(content, key, identity)

    def put(self, group: str, key: bytes, identity: bytes, entry: Entry) -> bool:
        """Keep an entry if there is room for it; return whether it was kept."""
        if time.monotonic() < self._closed_until:
            return False
        size = on_disk(HEADER_BYTES + entry.pixels.nbytes)
        try:
            with self._lock:
                if size * _LARGEST > self._budget.limit_bytes:
                    return False
                if not self._budget.take(size):
                    self._closed_until = time.monotonic() + _FULL_S
                    return False
            replaced = self._write(group, key, pack(key, identity, entry))
        except OSError as error:
            self._pause(error)
            return False
        if replaced:
            with self._lock:
                self._budget.give_back(replaced)
        self._touch()
        return True

    def _write(self, group: str, key: bytes, parts: tuple[bytes, Pixels]) -> int:
        """Write an entry whole; return the bytes of the one that it replaces."""
        path = self._path(group, key)
        shard, _, name = path.rpartition("/")
        self._written += 1
        fresh = f"{shard}/.{self._token}-{self._written}-{name[:8]}"
        try:
            descriptor = os.open(fresh, _CREATE, 0o600)
        except FileNotFoundError:
            _make_folder(shard)
            self._touched = -_TOUCH_S  # the group may be new
            descriptor = os.open(fresh, _CREATE, 0o600)
        try:
            try:
                _write_all(descriptor, parts)
            finally:
                os.close(descriptor)
            replaced = _size(path)
            os.rename(fresh, path)  # noqa: PTH104 - as text
        except OSError:
            with suppress(OSError):
                os.unlink(fresh)  # noqa: PTH108 - as text
            raise
        return replaced

    def _path(self, group: str, key: bytes) -> str:
        name = key.hex()
        return f"{self.folder}/{group}/{name[:2]}/{name[2:]}"

    def _touch(self) -> None:
        """Say that the groups are in use, now and then."""
        now = time.monotonic()
        if now - self._touched < _TOUCH_S:
            return
        with self._lock:
            self._touched = now
            groups = {user.group for user in self._users}
        for group in groups:
            with suppress(OSError):  # none yet, or it counts as unused earlier
                descriptor = os.open(f"{self.folder}/{group}/{USED}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                os.utime(descriptor)
                os.close(descriptor)

    def _pause(self, error: OSError) -> None:
        """Stop growing for a while; say why, once a reason."""
        self._closed_until = time.monotonic() + _PAUSE_S
        why = error.strerror or str(error)
        if why not in self._said:
            self._said.add(why)
            self.notes.append(
                f"the cache of decoded images in {self.folder} does not grow: {why}; images are decoded as without it"
            )


def _make_folder(path: str) -> None:
    """Make a folder; mostly the one above it is there already."""
    try:
        os.mkdir(path, 0o700)  # noqa: PTH102 - as text
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(path, mode=0o700, exist_ok=True)  # noqa: PTH103 - as text


def _write_all(descriptor: int, parts: tuple[bytes, Pixels]) -> None:
    header, pixels = parts
    left = pixels.data
    done = os.writev(descriptor, [header, left]) - len(header)
    if done < 0:
        raise OSError("the disk took less than a header")
    while done < len(left):  # a full disk takes a part, and then says so
        done += os.write(descriptor, left[done:])


def _size(path: str) -> int:
    try:
        return on_disk(os.stat(path).st_size)  # noqa: PTH116 - as text
    except FileNotFoundError:
        return 0
