"""The store of cached images that all workers of a host share, in a folder on a local disk.

Each process appends entries to a segment of its own (`segments.py`), and notes in an index where they lie
(`hints.py`). An entry names its key and bears a checksum, so nothing torn is ever served, whenever a writer is killed
or the host crashes. There is no server, and no lock between processes to read or to write. `budget.py` keeps the folder
below its limit. An error of the disk is never an error of the training: the store stops growing for a while and says
why, once.
"""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from penstock.worker.imaging.cache.budget import Ages, Answer, Budget
from penstock.worker.imaging.cache.entry import HEADER_BYTES, Entry, Source, pack, unpack
from penstock.worker.imaging.cache.folder import USED, open_folder
from penstock.worker.imaging.cache.hints import Hints, Place
from penstock.worker.imaging.cache.segments import Reader, Writer, room_of, segment_bytes, write_header

#: Seconds after which a worker renews the time of use of its groups.
_TOUCH_S = 60.0
#: Seconds for which the store does not grow after an error, and after it was full.
_PAUSE_S, _FULL_S = 60.0, 5.0
#: Bytes that are written by one call, at most: all of most tasks, since each call takes Python as long as many images.
_TOGETHER_BYTES = 4_000_000
#: No single image takes more than this part of the limit.
_LARGEST = 8


class User(Protocol):
    """A stream that uses the store."""

    @property
    def group(self) -> str:
        """The group of its images."""
        ...

    @property
    def items(self) -> int:
        """How many images it may have."""
        ...


class _Group:
    """This process's open files of a group."""

    def __init__(self, path: str, items: int) -> None:
        """Open the index, in a folder that is made if it is missing. Raises OSError."""
        os.makedirs(path, mode=0o700, exist_ok=True)  # noqa: PTH103 - as text
        self.path = path
        self.hints, self.reader, self.writer = Hints(path, items), Reader(path), Writer(path)

    def close(self) -> None:
        """Close all files."""
        self.hints.close()
        self.reader.close()
        self.writer.close()


class Store:
    """This process's access to the store; `look` and `put` may run on different threads."""

    def __init__(self, folder: str, limit_bytes: int, ages: Ages = Ages()) -> None:  # noqa: B008 - immutable
        """Open the store in `folder` (empty: this user's cache folder), which is to hold so much. Raises CacheError."""
        self.folder: Path = open_folder(folder)
        self._budget = Budget(self.folder, limit_bytes, ages)
        #: Guards everything below, and the budget.
        self._lock = threading.Lock()
        self._closed_until = 0.0
        self._touched = -_TOUCH_S
        #: The groups that streams of this process use; all of them stay in use while one of them is used.
        self._users: weakref.WeakSet[User] = weakref.WeakSet()
        self._groups: dict[str, _Group] = {}
        #: Gives back what is reserved, and closes all files: at `close`, or once nothing refers to this object.
        self._end = weakref.finalize(self, _close, self._budget, self._groups)
        self._said: set[str] = set()
        #: Why the last image could not be kept, as an error of the disk; empty if it could, or there was no room.
        self.stopped = ""
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
        """Give back what is reserved, and close all files."""
        with self._lock:
            self._end()

    def used_bytes(self) -> int:
        """Return how many bytes this host's store takes, about."""
        with self._lock:
            return self._budget.used_bytes()

    def look(self, group: str, key: bytes, source: Source) -> tuple[Place, Entry] | bool:
        """Return the entry of a key and where it lies if it is whole and of this source, else if there is another one.

        What looks like another one may be a damaged one, or none.
        """
        try:
            with self._lock:
                opened = self._groups.get(group) or self._open(group)
                found = [(place, opened.reader.read(place)) for place in opened.hints.find(key)]
                self._touch()
        except OSError:  # not to be had: the image is decoded
            return False
        for place, content in found:
            entry = None if content is None else unpack(content, key, source)
            if entry is not None:
                return place, entry
        return bool(found)

    def renew(self, group: str, key: bytes, place: Place, source: Source, entry: Entry) -> None:
        """Let an entry that lies at a place be found by another source. If it cannot be written, nothing changes."""
        header, _ = pack(key, source, entry)
        with suppress(OSError):  # removed meanwhile, or the disk is ill
            write_header(f"{self.folder}/{group}", place, header)

    def put(self, group: str, key: bytes, source: Source, entry: Entry) -> bool:
        """Keep an entry if there is room for it; return whether it was kept."""
        return self.put_all(group, [(key, source, entry)])

    def put_all(self, group: str, entries: Sequence[tuple[bytes, Source, Entry]]) -> bool:
        """Keep entries by their keys and sources, if there is room for all; return whether they were kept."""
        if time.monotonic() < self._closed_until:
            return False
        room = sum(room_of(HEADER_BYTES + entry.pixels.nbytes) for _, _, entry in entries)
        packed = [pack(key, source, entry) for key, source, entry in entries]
        with self._lock:
            limit = self._budget.limit_bytes
            if room * _LARGEST > limit:
                return False
            try:
                answer = self._budget.take(room)
            except OSError as error:
                self._pause(error)
                return False
            if answer is Answer.FULL:
                self._closed_until = time.monotonic() + _FULL_S
                self.stopped = ""
            if answer is not Answer.GRANTED:
                return False
            try:
                opened = self._groups.get(group) or self._open(group)
                for (key, _, _), place in zip(entries, opened.writer.append(packed, limit), strict=True):
                    opened.hints.set(key, place)
                self._touch()
                self.stopped = ""
            except OSError as error:
                self._budget.give_back(room)
                if not self._forget(group):
                    self._pause(error)
                return False
        return True

    @property
    def together_bytes(self) -> int:
        """How many bytes `put_all` should be given at once, at most: less where the limit is low."""
        return min(_TOGETHER_BYTES, segment_bytes(self._budget.limit_bytes) // 4)

    def _open(self, name: str) -> _Group:
        """Open a group's files. Raises OSError."""
        items = max((user.items for user in self._users if user.group == name), default=0)
        opened = self._groups[name] = _Group(f"{self.folder}/{name}", items)
        self._touched = -_TOUCH_S  # it may be new
        return opened

    def _touch(self) -> None:
        """Say that the groups are in use, now and then, and let go what was removed."""
        now = time.monotonic()
        if now - self._touched < _TOUCH_S:
            return
        self._touched = now
        for name in {user.group for user in self._users}:
            with suppress(OSError):  # none yet, or it counts as unused earlier
                descriptor = os.open(f"{self.folder}/{name}/{USED}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                os.utime(descriptor)
                os.close(descriptor)
        for name, opened in list(self._groups.items()):
            if not self._forget(name):
                opened.reader.let_go()
                opened.writer.let_go()

    def _forget(self, name: str) -> bool:
        """Close a group's files if the group was removed, so that it is made anew; return whether it was."""
        opened = self._groups.get(name)
        if opened is None or opened.hints.exists:
            return False
        self._groups.pop(name).close()
        return True

    def _pause(self, error: OSError) -> None:
        """Stop growing for a while; say why, once a reason."""
        self._closed_until = time.monotonic() + _PAUSE_S
        self.stopped = why = error.strerror or str(error)
        if why not in self._said:
            self._said.add(why)
            self.notes.append(
                f"the cache of decoded images in {self.folder} does not grow: {why}; images are decoded as without it"
            )


def _close(budget: Budget, groups: dict[str, _Group]) -> None:
    budget.close()
    for group in groups.values():
        group.close()
    groups.clear()
