"""Reads the rows of arrays that a task's items are. A task comes without items: its rows follow from the plan."""

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan
from penstock.protocol.records import Task
from penstock.protocol.storage.array_types import Bools, Levels
from penstock.protocol.storage.rows import SourceRows
from penstock.sources.base import Loaded
from penstock.sources.file_reader import loaded

#: Parts of red, green and blue in gray (of 2^16): ITU-R BT.601, as Pillow's "L" and the decoder take them.
_GRAY = np.array([19595, 38470, 7471], np.uint32)


class Paths(Sequence[str]):
    """How messages name some items; made only when asked for."""

    def __init__(self, rows: SourceRows, items: Int64s) -> None:
        """Name these items."""
        self._rows, self._items = rows, items

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._items)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        """Return one name, or some."""
        if isinstance(place, slice):
            return [self._rows.path(int(item)) for item in self._items[place]]
        return self._rows.path(int(self._items[place]))


class RowReader:
    """Rows of arrays on this host."""

    def __init__(self, plan: StreamPlan, rows: SourceRows, root: str) -> None:
        """Take opened arrays below `root`. Raises SourceError if they are not the ones that the ventilator listed."""
        self._plan, self._rows = plan, rows
        self._channels = plan.settings.transform.image_shape[2]
        if plan.copy_digest and rows.copy_digest() != plan.copy_digest:
            raise SourceError(
                f"{root}/{rows.images.name} is not what the ventilator listed: other images, labels or shape; "
                "give this host the same file, or start the ventilator again"
            )

    def read(self, task: Task) -> Loaded:
        """Return the rows of the task's items, which carry them if the stream takes only some rows."""
        if task.items and task.items[0].row is not None:
            rows = np.array([-1 if item.row is None else item.row for item in task.items], np.int64)
            if outside := [row for row in rows.tolist() if not 0 <= row < len(self._rows)]:
                error = ItemError(f"row {outside[0]} is none of the {len(self._rows)} rows of {self._rows.images.name}")
                return loaded(task, [error] * len(rows))
            return replace(loaded(task, ()), contents=self._contents(rows))
        items = self._plan.indices(task.key.ordinal, task.key.which)
        return Loaded(items, self._rows.labels[items], Paths(self._rows, items), self._contents(items))

    def _contents(self, rows: Int64s) -> Levels | list[Levels | ItemError]:
        try:
            return self._read(rows)
        except ItemError as error:
            # One by one: the others may lie in parts and chunks that can be read.
            return [error] if len(rows) == 1 else [self._read_alone(row) for row in rows]

    def _read_alone(self, item: np.int64) -> Levels | ItemError:
        try:
            return self._read(np.array([item]))[0]
        except ItemError as error:
            return error

    def _read(self, items: Int64s) -> Levels | list[Levels | ItemError]:
        """Return the images of some items; raise ItemError if one of them cannot be read."""
        stack, wrong = self._rows.read(items)
        stack = to_channels(stack, self._channels)
        return stack if wrong is None else _marked(stack, wrong)


def _marked(stack: Levels, wrong: Bools) -> list[Levels | ItemError]:
    error = ItemError("holds numbers that are not whole or not from 0 to 255: save the images as uint8")
    return [error if bad else image for image, bad in zip(stack, wrong.tolist(), strict=True)]


def to_channels(stack: Levels, channels: int) -> Levels:
    """Return images (n, height, width, 1, 3 or 4) with 1 channel (gray), 3 (red, green, blue) or 4 (and alpha).

    Alpha is dropped, or 255 where there was none: as the decoder does with files.
    """
    if stack.shape[3] == channels:
        return stack
    if channels == 1:
        gray: Levels = ((stack[..., :3] @ _GRAY + 0x8000) >> 16).astype(np.uint8)[..., np.newaxis]
        return gray
    colours = np.repeat(stack, 3, axis=3) if stack.shape[3] == 1 else stack[..., :3]
    if channels == 4:  # noqa: PLR2004 - with alpha
        return np.concatenate([colours, np.full_like(colours[..., :1], 255)], axis=3)
    return np.ascontiguousarray(colours)
