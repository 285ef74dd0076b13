"""The cells of a manifest that targets are made of, compactly: a hundred million rows must fit in memory."""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Some columns of a manifest, one row an item; 8 bytes for each cell, and 8 for each row, besides the text."""

    columns: int
    #: All cells, UTF-8, row by row, one after the other.
    text: bytes | bytearray
    #: Where each cell starts in `text`, and where the last one ends.
    starts: npt.NDArray[np.int64]
    #: Number of each row in the manifest; -1 without one.
    rows: npt.NDArray[np.int64]

    def of(self, index: int) -> tuple[int | None, tuple[str, ...]]:
        """Return the row's number in the manifest, if it has one, and its cells."""
        first = index * self.columns
        edges = self.starts[first : first + self.columns + 1].tolist()
        cells = (bytes(self.text[start:end]).decode() for start, end in pairwise(edges))
        row = int(self.rows[index])
        return row if row >= 0 else None, tuple(cells)

    @property
    def held_bytes(self) -> int:
        """Memory that the cells take."""
        return len(self.text) + self.starts.nbytes + self.rows.nbytes

    @property
    def longest(self) -> int:
        """Bytes of the longest row."""
        return int(np.diff(self.starts[:: self.columns]).max(initial=0))

    @property
    def digest(self) -> str:
        """Digest of the cells; the numbers of the rows are for messages only."""
        digest = hashlib.sha256(f"{self.columns} {len(self.rows)} ".encode())
        digest.update(self.starts.astype("<i8", copy=False).data)
        digest.update(self.text)
        return digest.hexdigest()


class CellsBuilder:
    """Gathers rows one by one."""

    def __init__(self, columns: int) -> None:
        """Take the number of columns."""
        self._columns = columns
        self._text = bytearray()
        self._lengths, self._rows = array("q"), array("q")

    @property
    def held_bytes(self) -> int:
        """Memory that the rows take so far."""
        return len(self._text) + 8 * (len(self._lengths) + len(self._rows))

    def add(self, row: int | None, cells: Sequence[str]) -> None:
        """Add a row."""
        for cell in cells:
            raw = cell.encode()
            self._text += raw
            self._lengths.append(len(raw))
        self._rows.append(-1 if row is None else row)

    def build(self) -> Cells:
        """Return the rows; the builder must not be used after."""
        starts = np.zeros(len(self._lengths) + 1, np.int64)
        np.cumsum(np.frombuffer(self._lengths, np.int64), out=starts[1:])
        return Cells(self._columns, self._text, starts, np.frombuffer(self._rows, np.int64))
