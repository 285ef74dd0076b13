"""A file of this host as large as one below a URL, of which only the parts are there that were brought.

Libraries that read a file at places of their own (pyarrow) read it as if it were whole. It lies in memory and takes as
much as was brought; where the system knows no such files, it lies in the folder of temporary files and has no name.
"""

import os
import tempfile
from collections.abc import Iterable
from types import TracebackType
from typing import BinaryIO, Self

from penstock.protocol.storage.url_answers import RemoteIdentity
from penstock.protocol.storage.urls import Remote
from penstock.sources.url_files.pieces import bring


class PartialCopy:
    """The copy; a context."""

    def __init__(self, remote: Remote, path: str, identity: RemoteIdentity) -> None:
        """Make it, with nothing in it. Raises OSError."""
        self._remote, self._path, self._tag = remote, path, identity.tag
        self.opened: BinaryIO
        if hasattr(os, "memfd_create"):
            self.opened = open(os.memfd_create("penstock-copy", os.MFD_CLOEXEC), "w+b")  # noqa: SIM115, PTH123 - closed below
        else:  # macOS
            self.opened = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed below
        os.ftruncate(self.opened.fileno(), identity.size)

    def bring(self, spans: Iterable[tuple[int, int]]) -> None:
        """Bring the parts at these (offset, length). Raises ItemError and OSError."""
        bring(self._remote, self._path, self.opened.fileno(), spans, self._tag)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free its memory."""
        self.opened.close()
