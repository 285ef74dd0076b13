"""Reads images from the rows of Parquet files, a row group at a time; the groups that were used last are kept."""

# ruff: noqa: ANN401 - pyarrow has no types

from collections import OrderedDict
from typing import Any

import numpy as np

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.records import Item, Task
from penstock.protocol.storage.confined_files import Watch, open_below
from penstock.sources.base import Loaded
from penstock.sources.containers.columns import bytes_column, image_bytes, import_pyarrow
from penstock.sources.file_reader import loaded
from penstock.sources.tables.parquet_pages import check_images

#: Bytes of unpacked row groups that a reader keeps; a larger group is kept alone.
CACHE_BYTES = 256_000_000
#: Most bytes that a row group may unpack to, and how many of its rows are unpacked at once.
MOST_BYTES, _ROWS = 2_000_000_000, 16
#: Files that a reader keeps open.
_FILES = 16


class _File:
    """An open Parquet file."""

    def __init__(self, root: str, path: str, image: str, *, allow_outside: bool) -> None:
        """Open it. Raises SourceError and what pyarrow raises."""
        self._pa = pa = import_pyarrow(f"{root}/{path}")
        self.watch = Watch(open_below(root, path, allow_outside=allow_outside), path)
        self._opened = open(self.watch.descriptor, "rb", closefd=False)  # noqa: SIM115 - closed with the descriptor
        self._table = pa.parquet.ParquetFile(self._opened)
        groups = range(self._table.metadata.num_row_groups)
        #: Number of the first row behind each row group.
        self.ends = np.cumsum([self._table.metadata.row_group(group).num_rows for group in groups], dtype=np.int64)
        self._column = bytes_column(self._table.schema_arrow, image)

    def group(self, number: int, most_bytes: int) -> Any:
        """Return the images of a row group. Raises ItemError if they take more memory than that.

        Rows are unpacked a few at a time, since a file of a few hundred bytes may repeat one large value in each row.
        """
        row_group = self._table.metadata.row_group(number)
        for chunk in map(row_group.column, range(row_group.num_columns)):
            if chunk.path_in_schema == self._column:
                check_images(self.watch.descriptor, chunk, "cannot read the row's group")
        parts, size = [], 0
        for batch in self._table.iter_batches(_ROWS, row_groups=[number], columns=[self._column], use_threads=False):
            parts.append(image_bytes(batch.column(0)))
            size += parts[-1].nbytes
            if size > most_bytes:
                raise ItemError(
                    f"row group {number} has more than {most_bytes / 1e6:g} MB of images, and is read as a "
                    "whole: write smaller row groups (row_group_size)"
                )
        return self._pa.chunked_array(parts)


class ParquetReader:
    """Images in the rows of Parquet files below a root of this host."""

    def __init__(
        self,
        root: str,
        image: str,
        *,
        allow_outside: bool,
        limit_bytes: int,
        cache_bytes: int = CACHE_BYTES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """Open no file yet. Raises SourceError if pyarrow is missing."""
        self._arrow = import_pyarrow(root)
        self._root, self._image, self._allow_outside = root, image, allow_outside
        self._limit_bytes, self._cache_bytes, self._most_bytes = limit_bytes, cache_bytes, most_bytes
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int], Any] = OrderedDict()

    @property
    def cached_bytes(self) -> int:
        """Bytes of the row groups that are kept."""
        return sum(group.nbytes for group in self._groups.values())

    def read(self, task: Task) -> Loaded:
        """Return the image of each item's row; the rows of one row group are read together."""
        contents: list[bytes | ItemError] = [b""] * len(task.items)
        for place in sorted(
            range(len(task.items)), key=lambda at: (task.items[at].path, task.items[at].span or (0, 0))
        ):
            try:
                contents[place] = self._read(task.items[place])
            except ItemError as error:
                contents[place] = error
        return loaded(task, contents)

    def _read(self, item: Item) -> bytes:
        if item.span is None:
            raise ItemError("a row of a Parquet file was expected, and not a whole file")
        row = item.span[0]
        try:
            file = self._file(item.path)
            number = int(np.searchsorted(file.ends, row, side="right"))
            if number == len(file.ends):
                raise ItemError(f"the file has {file.ends[-1] if number else 0} rows, and the item is row {row}")
            group = self._group(item.path, file, number)
            content = group[row - (int(file.ends[number - 1]) if number else 0)].as_py()
        except SourceError as error:
            raise ItemError(str(error)) from error
        except (self._arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ItemError(f"cannot read the row's group: {error}") from error
        if not content:
            raise ItemError("the row holds no image: it is null" if content is None else "the item is empty")
        if len(content) > self._limit_bytes:
            raise ItemError(
                f"{len(content)} bytes is over the limit of {self._limit_bytes} bytes (transform.max_file_mb)"
            )
        return bytes(content)

    def _file(self, path: str) -> _File:
        file = self._files.get(path)
        if file is None:
            file = _File(self._root, path, self._image, allow_outside=self._allow_outside)
            self._files[path] = file
            if len(self._files) > _FILES:
                self._files.popitem(last=False)
        self._files.move_to_end(path)
        file.watch.check()
        return file

    def _group(self, path: str, file: _File, number: int) -> Any:
        group = self._groups.get((path, number))
        if group is None:
            group = file.group(number, self._most_bytes)
            while self._groups and self.cached_bytes + group.nbytes > self._cache_bytes:
                self._groups.popitem(last=False)
            self._groups[path, number] = group
        self._groups.move_to_end((path, number))
        return group
