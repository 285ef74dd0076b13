"""Opens Parquet files, below a folder or a URL, to unpack the images of one row group at a time."""

# ruff: noqa: ANN401 - pyarrow has no types

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.storage.confined_files import Watch, open_below
from penstock.protocol.storage.url_answers import REPLACED, RemoteIdentity
from penstock.protocol.storage.urls import Remote
from penstock.sources.containers.columns import bytes_column, image_bytes, import_pyarrow
from penstock.sources.containers.parquet_parts import spans_of, with_footer
from penstock.sources.tables.parquet_pages import check_images
from penstock.sources.url_files.keeping import ShardKeeping, ShardRoom
from penstock.sources.url_files.partial_copy import PartialCopy
from penstock.sources.url_files.shard_store import ShardStore

#: Rows of a group that are unpacked at once.
_ROWS = 16


class TooLargeError(ItemError):
    """A row group takes more memory than it may."""

    def __init__(self, number: int, most_bytes: int) -> None:
        """Take the group's number, and the limit."""
        super().__init__(
            f"row group {number} has more than {most_bytes / 1e6:g} MB of images, and is read as a whole: write "
            "smaller row groups (row_group_size)"
        )


class ImageFile:
    """The footer of a Parquet file: which rows its groups have, and where its images lie."""

    def __init__(self, pa: Any, opened: BinaryIO, image: str) -> None:
        """Read it. Raises SourceError and what pyarrow raises."""
        self._pa = pa
        with pa.parquet.ParquetFile(opened) as table:
            self.metadata: Any = table.metadata
            self.column = bytes_column(table.schema_arrow, image)
        groups = range(self.metadata.num_row_groups)
        #: Number of the first row behind each row group.
        self.ends = np.cumsum([self.metadata.row_group(group).num_rows for group in groups], dtype=np.int64)
        #: Bytes of the footer, in the file.
        self.footer_bytes: int = self.metadata.serialized_size

    def unpack(self, opened: BinaryIO, number: int, most_bytes: int) -> Any:
        """Return the images of a row group. Raises TooLargeError if they take more memory than that.

        Rows are unpacked a few at a time, since a file of a few hundred bytes may repeat one large value in each row.
        """
        row_group = self.metadata.row_group(number)
        for chunk in map(row_group.column, range(row_group.num_columns)):
            if chunk.path_in_schema == self.column:
                check_images(opened.fileno(), chunk, "cannot read the row's group")
        parts, size = [], 0
        with self._pa.parquet.ParquetFile(opened, metadata=self.metadata, pre_buffer=False) as table:
            for batch in table.iter_batches(_ROWS, row_groups=[number], columns=[self.column], use_threads=False):
                parts.append(image_bytes(batch.column(0)))
                size += parts[-1].nbytes
                if size > most_bytes:
                    raise TooLargeError(number, most_bytes)
        return self._pa.chunked_array(parts)


class LocalFile:
    """A file of this host, which stays open."""

    def __init__(self, pa: Any, watch: Watch, image: str) -> None:
        """Read the footer of an open file. Raises SourceError and what pyarrow raises."""
        self._watch = watch
        self._opened = open(watch.descriptor, "rb", closefd=False)  # noqa: SIM115 - closed with the descriptor
        self._images = ImageFile(pa, self._opened, image)
        self.ends, self.footer_bytes = self._images.ends, self._images.footer_bytes
        #: Held while the file is read: it has one place where it is read.
        self._lock = threading.Lock()

    def check(self, tag: str) -> None:
        """Raise ItemError if the file was written to since it was opened."""
        del tag
        self._watch.check()

    def group(self, number: int, most_bytes: int) -> Any:
        """Return the images of a row group. Raises ItemError."""
        with self._lock:
            return self._images.unpack(self._opened, number, most_bytes)


class LocalFiles:
    """The files below a root of this host."""

    #: Files that are kept open; files, and row groups of a task, that are read at once.
    MOST_OPEN, AT_ONCE = 16, 1

    def __init__(self, root: str, image: str, *, allow_outside: bool) -> None:
        """Open none yet. Raises SourceError if pyarrow is missing."""
        self._arrow = import_pyarrow(root)
        self._root, self._image, self._allow_outside = root, image, allow_outside

    def open(self, path: str) -> LocalFile:
        """Return a file. Raises SourceError and what pyarrow raises."""
        watch = Watch(open_below(self._root, path, allow_outside=self._allow_outside), path)
        return LocalFile(self._arrow, watch, self._image)


class RemoteFile:
    """A file below a URL: its row groups are requested one by one, or read from a copy that this host keeps.

    The copy is opened for each use only: one that is removed to make room takes the disk until all have closed it.
    """

    def __init__(self, pa: Any, remote: Remote, path: str, image: str, tag: str, shards: ShardStore | None) -> None:
        """Read the footer of the content with this tag. Raises SourceError, ItemError and what pyarrow raises."""
        self._remote, self._path, self._tag, self._shards = remote, path, tag, shards
        self._identity: RemoteIdentity | None = None
        #: Whether the copy on this host was used last.
        self.kept = False
        with self._copy() as copy:
            if copy is not None:
                self._images = ImageFile(pa, copy, image)
        if not self.kept:
            with with_footer(remote, path, self._identified()) as part:
                self._images = ImageFile(pa, part.opened, image)
        self.ends, self.footer_bytes = self._images.ends, self._images.footer_bytes

    def check(self, tag: str) -> None:
        """Raise ItemError if the file has another content than the one that was listed."""
        if tag and tag != self._tag:
            raise ItemError(REPLACED)

    def group(self, number: int, most_bytes: int) -> Any:
        """Return the images of a row group. Raises ItemError and what pyarrow raises."""
        with self._copy() as copy:
            if copy is not None:
                return self._images.unpack(copy, number, most_bytes)
        identity = self._identified()
        spans = spans_of(self._images.metadata, [self._images.column], [number], identity.size)
        if sum(length for _, length in spans) > most_bytes:
            raise TooLargeError(number, most_bytes)
        with PartialCopy(self._remote, self._path, identity) as part:
            part.bring(spans)
            return self._images.unpack(part.opened, number, most_bytes)

    @contextmanager
    def _copy(self) -> Generator[BinaryIO | None]:
        """Yield this host's copy of the listed content, opened; None if it keeps none. Raises ItemError."""
        shard = self._shards.open(self._path) if self._shards is not None else None
        self.kept = shard is not None
        if shard is None:
            yield None
            return
        with open(shard.descriptor, "rb") as opened:  # noqa: PTH123 - a descriptor
            if not shard.is_of(self._tag):
                raise ItemError(REPLACED)
            yield opened

    def _identified(self) -> RemoteIdentity:
        """Return which content the server has, if it is the listed one. Raises ItemError."""
        if self._identity is None:
            found = self._remote.identity(self._path)
            if self._tag and found.tag != self._tag:
                raise ItemError(REPLACED)
            self._identity = found
        return self._identity


class RemoteFiles(ShardKeeping):
    """The files below a URL."""

    #: Footers that are kept; footers, and row groups of a task, that are requested at once.
    MOST_OPEN, AT_ONCE = 256, 4

    def __init__(self, remote: Remote, image: str, room: ShardRoom | None = None) -> None:
        """Open no connection yet; whole files are kept if there is `room`. Raises SourceError if pyarrow is missing."""
        super().__init__(remote, room)
        self._arrow, self._image = import_pyarrow(remote.name), image

    def open(self, path: str, tag: str = "") -> RemoteFile:
        """Return a file, whose listed content has this tag. Raises SourceError, ItemError and what pyarrow raises."""
        return RemoteFile(self._arrow, self._remote, path, self._image, tag, self._shards)
