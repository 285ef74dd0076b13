"""Sources below URLs: owns listing a tree through fsspec, and bringing a manifest here. Refuses to know protocols.

A tree's listing is that of the same folders on a disk: the same order, the same digest.
"""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.source import ManifestSource
from penstock.protocol.storage.urls import Remote


class RemoteTree:
    """The class folders of a tree below a URL."""

    def __init__(self, url: str, folder: str, *, allow_outside: bool) -> None:
        """List all files below `folder`. Raises SourceError."""
        remote = Remote(url, allow_outside=allow_outside)
        self.name = f"{remote.name}/{folder}".rstrip("/")
        #: Files of each class folder, as paths below the place; files beside the folders.
        self.folders: dict[bytes, list[bytes]] = {}
        self.beside: list[bytes] = []
        for path in remote.walk(folder):
            try:
                name = path.encode()
            except UnicodeEncodeError:
                raise SourceError(f"{self.name}/{path!r}: the name is not valid UTF-8: rename the file") from None
            top, slash, _ = name.partition(b"/")
            if slash:
                self.folders.setdefault(top, []).append(name)
            else:
                self.beside.append(name)


@contextmanager
def brought(source: ManifestSource, url: str) -> Generator[tuple[bytes, str]]:
    """Copy a manifest below a URL to this host for a while; yield where it is, and its name for messages."""
    remote = Remote(url, allow_outside=source.allow_outside)
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        file = Path(folder) / f"manifest{Path(source.path).suffix}"
        remote.fetch(source.path, file)
        yield str(file).encode(), f"{remote.name}/{source.path}"
