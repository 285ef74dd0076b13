"""Lists a tree below a URL, and copies a manifest from there to this host.

A tree's listing equals that of the same folders on a disk: the same order, the same digest. `protocol/storage/urls.py`
makes the requests.
"""

import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.urls import Remote
from penstock.sources.file_listing import prefix_of
from penstock.sources.suffixes import UNCLASSIFIED, is_image, suffix_of


class RemoteTree:
    """The class folders of a tree below a URL."""

    def __init__(self, url: str, folder: str, *, allow_outside: bool) -> None:
        """List all files below `folder`. Raises SourceError."""
        remote = Remote(url, allow_outside=allow_outside)
        self.name = f"{remote.name}/{folder}".rstrip("/")
        self._prefix = prefix_of(folder)
        #: Files that were found and not listed: how many of each suffix, and how many images in no class folder.
        self.passed_over: Counter[str] = Counter()
        #: Guards the counts: several class folders may be looked through at once.
        self._lock = threading.Lock()
        #: Set: all walks end at their next file.
        self.stopped = threading.Event()
        self._files: dict[bytes, list[bytes]] = {}
        for path in remote.walk(folder):
            try:
                name = path.encode()
            except UnicodeEncodeError:
                raise SourceError(f"{self.name}/{path!r}: the name is not valid UTF-8: rename the file") from None
            top, slash, _ = name.partition(b"/")
            if slash:
                self._files.setdefault(top, []).append(name)
            else:
                self.passed_over[UNCLASSIFIED if is_image(name) else suffix_of(name)] += 1

    @property
    def folders(self) -> AbstractSet[bytes]:
        """The folders' names."""
        return self._files.keys()

    def images(self, name: bytes) -> Iterator[bytes]:
        """Yield the path below the root of every image in a class folder."""
        return self.files(name, is_image)

    def files(self, name: bytes, wanted: Callable[[bytes], bool]) -> Iterator[bytes]:
        """Yield the path below the root of every wanted file in a class folder. Ends early once `stopped` is set."""
        for path in self._files[name]:
            if self.stopped.is_set():
                return
            file = path.rpartition(b"/")[2]
            if wanted(file):
                yield self._prefix + path
            else:
                with self._lock:
                    self.passed_over[suffix_of(file)] += 1


@contextmanager
def brought(url: str, path: str, *, allow_outside: bool) -> Generator[tuple[bytes, str]]:
    """Copy a file below a URL to this host for a while; yield where it is, and its name for messages."""
    remote = Remote(url, allow_outside=allow_outside)
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        file = Path(folder) / f"manifest{Path(path).suffix}"
        remote.fetch(path, file)
        yield str(file).encode(), f"{remote.name}/{path}"
