"""Reads a file's rows as fields of samples: maps data sets to fields, chooses among images, and changes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.protocol.order import Int64s
from penstock.protocol.wire import Array
from penstock.trainer.client.buffers import Buffers
from penstock.trainer.hdf5.changes import Changes, choose, draw
from penstock.trainer.hdf5.columns import Column

#: The fields that are not simply a data set's rows.
IMAGE, MANIPULATION = "image", "manipulation"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which image data set the field `image` comes from."""

    #: The data sets' names; a sample's `manipulation` is an index among these.
    names: tuple[str, ...]
    #: Which of them; None: one drawn for each sample.
    index: int | None
    #: Whether a field says which.
    said: bool


class SampleRows:
    """Reads fields by name, for any rows. For one thread; any thread may release its results."""

    def __init__(
        self, columns: Mapping[str, Column], fields: Sequence[str], choice: Choice, changes: Changes, seed: int
    ) -> None:
        """Take the data sets by name; `fields` are the fields of each sample."""
        self._columns, self._fields, self._choice, self._changes, self._seed = columns, fields, choice, changes, seed
        self._buffers = Buffers()

    def read(self, epoch: int, rows: Int64s) -> dict[str, Array]:
        """Return the fields of `rows`, in that order: arrays of the caller's own. Raises SourceError."""
        places = np.argsort(rows, kind="stable")
        ascending = rows[places]
        drawn = draw(self._seed, epoch, rows) if self._changes or self._choice.index is None else np.empty((0, 0))
        chosen = self._chosen(drawn, len(rows))
        fields: dict[str, Array] = {}
        for name in self._fields:
            if name == IMAGE:
                images = self._images(ascending, places, chosen)
                fields[name] = self._changed(images, drawn) if self._changes else images
            elif name == MANIPULATION and self._choice.said:
                fields[name] = chosen
            else:
                fields[name] = self._empty(self._columns[name], len(rows))
                self._columns[name].scatter(ascending, places, fields[name])
        return fields

    def join(self, parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """Return the samples of all parts, one after the other."""
        if len(parts) == 1:
            return dict(parts[0])
        return {name: self._buffers.join([part[name] for part in parts]) for name in self._fields}

    def close(self) -> None:
        """Close all files."""
        for column in self._columns.values():
            column.close()

    def _chosen(self, drawn: Array, count: int) -> Array:
        index = self._choice.index
        return choose(drawn, len(self._choice.names)) if index is None else np.full(count, index, np.int32)

    def _images(self, ascending: Int64s, places: Int64s, chosen: Array) -> Array:
        columns = [self._columns[name] for name in self._choice.names if name in self._columns]
        out = self._empty(columns[0], len(ascending))
        if self._choice.index is not None:
            columns[0].scatter(ascending, places, out)
            return out
        numbers = chosen[places]
        for number, column in enumerate(columns):
            mine = numbers == number
            column.scatter(ascending[mine], places[mine], out)
        return out

    def _changed(self, images: Array, drawn: Array) -> Array:
        out = self._buffers.empty((len(images), *self._changes.shape(images.shape[1:])), images.dtype)
        self._changes.apply(images, drawn, out)
        return out

    def _empty(self, column: Column, count: int) -> Array:
        return self._buffers.empty((count, *column.shape[1:]), column.dtype)
