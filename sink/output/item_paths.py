"""The source's paths by item, as a data set of text in a file of its own while samples are written.

They come page by page from the ventilator, may be a hundred million, and are written once.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import h5py

from penstock.protocol.errors import LocalProtocolError, OutputError
from penstock.sink.output.durable_files import Disk, DurableFile
from penstock.sink.output.layout import LIBVER, text

#: Name of the data set; rows of a chunk; rows copied in one go.
PATHS, _CHUNK_ROWS, _ROWS = "paths", 4096, 65_536


class Names:
    """The file of paths, being written or finished."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Find out whether the file exists."""
        self.path, self._disk = path, disk
        self.complete = path.exists()
        self._file: Any = None
        self._durable: DurableFile | None = None

    def append(self, start: int, total: int, paths: Sequence[str]) -> int:
        """Write the paths from item `start` on; return how many are there. Raises OutputError."""
        if self._file is None:
            self._durable = DurableFile(self.path.with_name(f"{self.path.name}.tmp"), self._disk)
            with self._durable.guard():
                self._file = h5py.File(self._durable, "w", libver=LIBVER)
                create_paths(self._file, total)
        if start + len(paths) > total:
            raise LocalProtocolError(f"{start + len(paths)} paths of {total}")
        assert self._durable is not None  # noqa: S101 - opened together
        with self._durable.guard():
            self._file[PATHS][start : start + len(paths)] = [text(path) for path in paths]
            if start + len(paths) == total:
                self._file.close()
        if start + len(paths) == total:
            self._durable.finish()
            self._disk.rename(self._durable.path, self.path)
            self._file, self.complete = None, True
        return start + len(paths)

    def close(self) -> None:
        """Close an unfinished file."""
        if self._file is not None and self._durable is not None:
            with suppress(OSError, RuntimeError, ValueError):  # of a disk that has failed: it does not matter
                self._file.close()
            self._durable.drop()
            self._file = None

    def copy_to(self, file: h5py.File) -> None:
        """Write all paths into another file. Raises OutputError."""
        try:
            with cast("Any", h5py.File(self.path, "r")) as known:
                source = known[PATHS]
                target = create_paths(file, len(source))
                for start in range(0, len(source), _ROWS):
                    target[start : start + _ROWS] = source[start : start + _ROWS]
        except (OSError, KeyError, RuntimeError) as error:
            raise OutputError(
                f"{self.path}: cannot be read: {error}: remove it, then give the same command again: it is made anew"
            ) from error


def create_paths(file: h5py.File, total: int) -> Any:  # noqa: ANN401 - h5py has no types
    """Make the data set of paths."""
    chunk = min(_CHUNK_ROWS, max(1, total))
    return file.create_dataset(PATHS, (total,), h5py.string_dtype(), chunks=(chunk,))
