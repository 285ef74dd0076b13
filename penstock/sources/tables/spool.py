"""Gathers the items of a listing in a file instead of memory, so that a hundred million of them take little of it.

Paths go into the file as they come. What is wanted only when all items are known (where each path starts, final labels,
weights) waits in files without a name, and is appended at the end; `index_file.py` says what the file looks like then.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from penstock.protocol.storage.user_cache import begin_part
from penstock.sources.file_listing import FileListing, ListingBuilder, digest_header
from penstock.sources.tables import index_file
from penstock.sources.tables.block_sums import BLOCK_BYTES, RunningSums
from penstock.sources.tables.progress import told

#: Items that are added one by one until they are written together, and items that are completed at once.
_NEAR, _AT_ONCE = 65_536, 1_048_576
#: Bytes of paths that are digested at once.
_DIGESTED = 4 * BLOCK_BYTES


class SpoolError(Exception):
    """The folder takes no files, or the disk is full: items have to be gathered in memory."""


class Spools:
    """A context in which spools are made, whose files it removes in the end."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Take the folder of the files, and what the listings' headers say besides."""
        self._folder, self._facts = folder, facts
        self._cleanup = ExitStack()

    def new(self) -> "Spool":
        """Return one. Raises SpoolError."""
        try:
            return self._cleanup.enter_context(Spool(self._folder, self._facts))
        except OSError as error:
            raise SpoolError from error

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the files that are left."""
        self._cleanup.close()


class Spool:
    """One listing on its way into a file; a context, which removes the file in the end unless it was renamed."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Make the files. Raises OSError."""
        self._facts = facts
        self._cleanup = ExitStack()
        try:
            descriptor, name = begin_part(folder)
            self.file = Path(name)
            self._cleanup.callback(self.file.unlink, missing_ok=True)
            self._paths: IO[bytes] = self._cleanup.enter_context(open(descriptor, "w+b"))  # noqa: PTH123, SIM115 - entered
            self._lengths, self._labels, self._weights = (self._unnamed(folder) for _ in range(3))
        except BaseException:
            self._cleanup.close()
            raise
        self._near = ListingBuilder()
        self._items = self._path_bytes = 0
        self._weighted = False

    def _unnamed(self, folder: Path) -> IO[bytes]:
        return self._cleanup.enter_context(tempfile.TemporaryFile(dir=folder))

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close and remove the files. A listing that was built stays mapped."""
        with suppress(OSError):  # what was not written yet, on a full disk: all files are closed all the same
            self._cleanup.close()

    def __len__(self) -> int:
        """Return the number of items so far."""
        return self._items + len(self._near)

    @property
    def listed_bytes(self) -> int:
        """Bytes that the items take so far, wherever they are."""
        return self._path_bytes + 12 * self._items + self._near.listed_bytes

    def add(self, path: bytes, label: int, weight: float | None = None) -> None:
        """Add an item. Raises SpoolError."""
        self._near.add(path, label, weight)
        if len(self._near) >= _NEAR:
            self._flush()

    def add_cells(self, row: int | None, cells: Sequence[str]) -> None:
        """Refuse: the columns of targets are gathered in memory."""
        del row, cells
        raise SpoolError

    def extend(
        self,
        paths: memoryview,
        lengths: npt.NDArray[np.uint16],
        labels: npt.NDArray[np.int32],
        weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Add items: their paths one after the other, and the length and the label of each. Raises SpoolError."""
        self._flush()
        self._write(paths, lengths, labels, weights)

    def build(self, kind: str, classes: Sequence[str], relabel: npt.NDArray[np.int32] | None = None) -> FileListing:
        """Return the listing, mapped, with `relabel[label]` for each label if given; the spool must not be used after.

        Raises SpoolError.
        """
        self._flush()
        try:
            digest = self._finish(kind, classes, relabel)
            facts = {**self._facts, "kind": kind, "classes": list(classes), "digest": digest}
            return self._open(facts)
        except OSError as error:
            raise SpoolError from error

    def _flush(self) -> None:
        if len(self._near):
            near, self._near = self._near, ListingBuilder()
            self._write(*near.gathered())

    def _write(
        self,
        paths: memoryview,
        lengths: npt.NDArray[np.uint16],
        labels: npt.NDArray[np.int32],
        weights: npt.NDArray[np.float64] | None,
    ) -> None:
        try:
            self._paths.write(paths)
            self._lengths.write(lengths.data)
            self._labels.write(labels.data)
            if weights is not None:
                self._weights.write(weights.data)
        except OSError as error:
            raise SpoolError from error
        self._items += len(lengths)
        self._path_bytes += len(paths)
        self._weighted = self._weighted or weights is not None

    def _finish(self, kind: str, classes: Sequence[str], relabel: npt.NDArray[np.int32] | None) -> str:
        """Append all that was not known before, and return the digest."""
        digest = hashlib.sha256(digest_header(kind, classes, self._items))
        self._paths.write(bytes(index_file.padded(self._path_bytes) - self._path_bytes))
        self._paths.flush()
        sums = [self._digest_paths(digest)]
        starts, weights, labels = RunningSums(), RunningSums(), RunningSums()
        at = np.zeros(1, np.int64)
        for lengths in chain([np.zeros(1, np.uint16)], self._parts(self._lengths, np.uint16)):
            ends = np.cumsum(lengths, dtype=np.int64) + at
            at = ends[-1:]
            self._append(ends.astype(index_file.STARTS, copy=False), starts, digest)
        for part in self._parts(self._weights, np.float64):
            self._append(part.astype(index_file.WEIGHTS, copy=False), weights)
        for part in self._parts(self._labels, np.int32):
            numbers = part if relabel is None else relabel[part]
            self._append(numbers.astype(index_file.LABELS, copy=False), labels, digest)
        sums += [starts.sums(), weights.sums(), labels.sums()]
        self._paths.write(index_file.sums_table(sums))
        found = digest.hexdigest()
        header = index_file.header_of(
            {**self._facts, "kind": kind, "classes": list(classes), "digest": found},
            self._path_bytes,
            self._items,
            weighted=self._weighted,
        )
        self._paths.write(header)
        self._paths.write(index_file.end_of(header))
        self._paths.flush()
        return found

    def _digest_paths(self, digest: Any) -> npt.NDArray[np.uint64]:  # noqa: ANN401 - of hashlib
        """Take the paths that were written into the digest; return the sums of their blocks."""
        sums, room = RunningSums(), memoryview(bytearray(min(_DIGESTED, max(1, self._path_bytes))))
        for begin in range(0, self._path_bytes, len(room)):
            part = room[: self._path_bytes - begin]
            if os.preadv(self._paths.fileno(), [part], begin) != len(part):
                raise OSError(errno.EIO, "the paths that were written cannot be read")
            digest.update(part)
            sums.add(part)
            told(f"{100 * begin // self._path_bytes} % of the index")
        return sums.sums()

    def _append(self, numbers: npt.NDArray[Any], sums: RunningSums, digest: Any = None) -> None:  # noqa: ANN401 - as above
        data = numbers.data.cast("B")
        self._paths.write(data)
        sums.add(data)
        if digest is not None:
            digest.update(data)

    @staticmethod
    def _parts(file: IO[bytes], kind: Any) -> Any:  # noqa: ANN401 - types of numpy
        """Yield the numbers of a file, some at a time."""
        file.seek(0)
        while content := file.read(_AT_ONCE * np.dtype(kind).itemsize):
            yield np.frombuffer(content, kind)

    def _open(self, facts: Mapping[str, Any]) -> FileListing:
        with suppress(OSError):  # no mapping: some file systems cannot, and memory may be short
            if (found := index_file.read_index(self.file, self._paths.fileno(), facts)) is not None:
                return found
        return index_file.read_all(self._paths.fileno(), facts)
