"""What a listing asks of the mapped file that it lies in (`index_file.py`)."""

from typing import Protocol

import numpy as np
import numpy.typing as npt


class MappedPages(Protocol):
    """Pages of a mapped file, which become resident when they are used."""

    def used(self, items: int = 1) -> None:
        """Say that so many items were looked up."""
        ...

    def read(self, indices: npt.NDArray[np.int64]) -> tuple[list[bytes], list[int]] | None:
        """Return paths and labels of these items; None where it costs less to look at the mapped pages.

        Raises SourceError if anything of them is damaged, or cannot be read.
        """
        ...

    def check(self, index: int) -> None:
        """Raise SourceError if what is told of an item, its path aside, is damaged."""
        ...

    def check_path(self, begin: int, end: int) -> None:
        """Raise SourceError if the paths from `begin` to `end` are."""
        ...

    def check_items(self, indices: npt.NDArray[np.int64]) -> None:
        """Raise SourceError if what is told of any of these items, their paths aside, is damaged."""
        ...

    def check_paths(self, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
        """Raise SourceError if any of the paths from `begins` to `ends` is."""
        ...

    def check_labels(self, items: int) -> None:
        """Raise SourceError if any label of so many items is."""
        ...

    def check_weights(self, items: int) -> None:
        """Raise SourceError if any weight of so many items is."""
        ...

    def give_back(self) -> None:
        """Let go of all pages."""
        ...
