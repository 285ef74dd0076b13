"""An HDF5 file as a stream of samples: its fields, the order of its rows, and its fingerprint.

Also checks the arguments of a feed, with defaults from a file that Penstock wrote.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from penstock.protocol.errors import SourceError, SpecError
from penstock.protocol.order import Int64s
from penstock.protocol.plan import FieldSchema
from penstock.protocol.storage.hdf5_facts import Facts, read_facts
from penstock.protocol.storage.hdf5_open import Bounds, h5py, locate, names_of, open_hdf5
from penstock.protocol.storage.hdf5_parts import PartFiles
from penstock.protocol.storage.hdf5_virtual import data_sets, find
from penstock.protocol.storage.rows_hdf5 import class_names
from penstock.trainer.hdf5.changes import Changes, is_image
from penstock.trainer.hdf5.columns import Column
from penstock.trainer.hdf5.order import RowOrder
from penstock.trainer.hdf5.plan import Batching, FilePlan
from penstock.trainer.hdf5.rows import IMAGE, MANIPULATION, Choice, SampleRows

#: Name of the unchanged image in a per-manipulation file.
_UNCHANGED = "img"
#: Rows in a window at most, however small they are.
_WINDOW_ROWS = 1 << 18
#: Window (bytes) of rows that are read in order: nothing is mixed, so this only sets how far to read ahead.
_IN_ORDER_BYTES = 8_000_000
#: Rows, evenly spread, whose images the file's digest holds.
_SKETCHED = 4
#: Batches are cut so, where neither the caller nor the file says how.
_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class Wanted:
    """Arguments of a feed; None: as in the file."""

    batch_size: int | None = None
    drop_remainder: bool | None = None
    seed: int | None = None
    shuffle: bool = True
    recorded: bool = False
    fields: tuple[str, ...] | None = None
    image: str | None = None
    manipulation: str | int | None = None
    changes: Changes = field(default_factory=Changes)
    run_mb: float = 1.0
    window_mb: float = 32.0

    def __post_init__(self) -> None:
        """Check the arguments. Raises SpecError."""
        if self.batch_size is not None and self.batch_size < 1:
            raise SpecError(f"batch_size = {self.batch_size}: give 1 or more")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise SpecError(f"seed = {self.seed}: give 0 to 2^63 - 1")
        if not 0 < self.run_mb <= self.window_mb:
            raise SpecError(f"run_mb = {self.run_mb}, window_mb = {self.window_mb}: both above 0, runs within windows")
        if self.image is not None and self.manipulation is not None:
            raise SpecError(f"image = {self.image!r} and manipulation = {self.manipulation!r}: give one of them")
        if isinstance(self.fields, str):
            raise SpecError(f"fields = {self.fields!r}: give a tuple of names")


class SampleFile:
    """A file opened for a feed."""

    def __init__(self, path: str | Path, wanted: Wanted, *, allow_outside: bool) -> None:
        """Open it. Raises SourceError for the file, SpecError for the arguments."""
        self.name = os.fspath(path)
        place = os.path.realpath(self.name)
        if not os.path.isfile(place):  # noqa: PTH113 - HDF5 would wait for a named pipe
            raise SourceError(f"{self.name}: no such file")
        top = None if allow_outside else os.path.dirname(place)  # noqa: PTH120 - as text
        self._bounds, self._wanted = Bounds(self.name, top), wanted
        self._parts = PartFiles(top)
        self._file = open_hdf5(place, self.name)
        try:
            self.facts = read_facts(self._file, self.name)
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        wanted, known = self._wanted, self.facts.plan
        self._found = data_sets(self._file, self.name)
        self.choice = choice = choose_images(self._found, self.name, self.facts, wanted)
        chosen = choice.names if choice.index is None else (choice.names[choice.index],)
        images = self._column(chosen[0])
        names = self._fields(len(images))
        others = [*(chosen[1:] if IMAGE in names else ()), *(name for name in names if not self._is_made(name))]
        self._columns = {chosen[0]: images} | {name: self._column(name) for name in others if name != chosen[0]}
        self._check_alike([name for name in chosen if name in self._columns])
        sizes = self._sizes(self._length())
        shape = self._changed(chosen[0], images.shape[1:]) if IMAGE in names else images.shape[1:]
        seed = wanted.seed if wanted.seed is not None else self.facts.seed or 0
        order = self._order(seed, sizes, images)
        self.rows = SampleRows(self._columns, names, choice, wanted.changes, seed)
        labels = locate(self._file, "label", self._bounds)
        classes = class_names(self.name, self._file if labels is None else labels, self._file)
        self.plan = FilePlan(
            name=self.facts.stream or "hdf5",
            classes=tuple(classes or ()),
            schema=tuple(self._schema(name, shape) for name in names),
            settings=Batching(
                wanted.batch_size or (known.settings.batch_size if known else _BATCH_SIZE),
                bool(known and known.settings.drop_remainder)
                if wanted.drop_remainder is None
                else wanted.drop_remainder,
            ),
            order=order,
            fingerprint=f"{self._digest(images, sizes)}-{self._order_digest(order)}",
        )
        self._parts.close()  # opened again where they are read

    def _known(self, name: str) -> FieldSchema | None:
        """Return the spec's description of a data set, if there is one."""
        schema = self.facts.plan.schema if self.facts.plan else ()
        return next((each for each in schema if each.name == name), None)

    def _changed(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of an image as it will be. Raises SpecError if it cannot be changed so."""
        if not self._wanted.changes:
            return shape
        known = self._known(name)
        if not is_image(shape, np.dtype(np.uint8)) or (known is not None and known.axes == "chw"):
            raise SpecError(
                f"{self.name}: {name} has shape {shape}: crop, rot90 and flip need (height, width) or (height, width, "
                "channels) of 1, 3 or 4 channels"
            )
        return self._wanted.changes.shape(shape)

    def _check_alike(self, names: Sequence[str]) -> None:
        """Raise SourceError unless an image of any of these data sets can stand for one of another."""
        kinds = {name: f"{self._columns[name].dtype}{self._columns[name].shape[1:]}" for name in names}
        if len(set(kinds.values())) > 1:
            told = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
            raise SourceError(f"{self.name}: images that differ in shape or type ({told}): choose one by image=")

    def _column(self, name: str) -> Column:
        data = find(self._file, name, self._bounds, self._parts)
        if data is None:
            raise SpecError(f"{self.name}: no data set {name!r}; it holds: {names_of(self._file)}")
        return Column(data, self._bounds, self._parts)

    def _is_made(self, name: str) -> bool:
        return name == IMAGE or (name == MANIPULATION and self.choice.said)

    def _fields(self, length: int) -> tuple[str, ...]:
        """Return the names of a sample's fields."""
        if self._wanted.fields is not None:
            if not self._wanted.fields:
                raise SpecError(f"fields = (): give some of {names_of(self._file)}; or None for all")
            return tuple(dict.fromkeys(self._wanted.fields))
        images = image_sets(self._found, self.facts)
        made: tuple[str, ...] = (IMAGE, MANIPULATION) if self.choice.said else (IMAGE,)
        if self._has_views and self._wanted.image is None:
            if self._wanted.changes:
                raise SpecError(f"{self.name}: crop, rot90 and flip change one image, and it holds views: give image=")
            made = images
        some = [
            name
            for name, data in self._found.items()
            if name not in made and name not in images and data.dtype.kind in "uifb" and data.shape
            if not self.facts.complete or len(data) == length
        ]
        usual = ("label", "item", "patch", MANIPULATION, "epoch")
        return (*made, *sorted(some, key=lambda name: (usual.index(name) if name in usual else len(usual), name)))

    @property
    def _has_views(self) -> bool:
        """Whether samples have several images, all of which belong to them."""
        plan = self.facts.plan
        return bool(
            plan and plan.settings.transform.all_views and {*plan.settings.transform.image_names} <= {*self._found}
        )

    def _length(self) -> int:
        """Return the number of samples; of a file that is being written, of those that have all fields."""
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) > 1 and self.facts.complete:
            told = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise SourceError(f"{self.name}: fields of different lengths ({told}): choose those of samples by fields=")
        if not (length := min(lengths.values())):
            raise SourceError(f"{self.name}: holds no samples" + ("" if self.facts.complete else " yet"))
        return length

    def _sizes(self, length: int) -> tuple[int, ...]:
        """Return the rows of each epoch: all of them, or those of each epoch that was recorded."""
        if not self._wanted.recorded:
            return (length,)
        if self._wanted.shuffle:
            raise SpecError("recorded = True gives rows as they were recorded: leave shuffle = True out")
        epochs = self._column("epoch").take(np.arange(length, dtype=np.int64)).reshape(-1)
        if (np.diff(epochs) < 0).any():
            raise SourceError(
                f"{self.name}: its epochs are not in order: recorded = True needs a file as it was written"
            )
        return tuple(np.unique(epochs, return_counts=True)[1].tolist())

    def _order(self, seed: int, sizes: tuple[int, ...], images: Column) -> RowOrder:
        wanted = self._wanted
        row_bytes = max(1, images.row_bytes)
        window_bytes = wanted.window_mb * 1e6 if wanted.shuffle else min(wanted.window_mb * 1e6, _IN_ORDER_BYTES)
        chunks = -(-int(wanted.run_mb * 1e6 // row_bytes or 1) // images.together)
        run_rows = min(chunks * images.together, max(sizes))
        runs = max(1, min(int(window_bytes // row_bytes), _WINDOW_ROWS) // run_rows)
        return RowOrder(seed, sizes, run_rows, runs, wanted.shuffle)

    def _schema(self, name: str, image: tuple[int, ...]) -> FieldSchema:
        """Return a field's schema; an image is taken to be what the spec says of it, or rows, columns and channels."""
        if name == IMAGE:
            stored = self.choice.names[self.choice.index or 0]
            column, known = self._columns[stored], self._known(stored)
            axes: Any = known.axes if known else ("hw" if len(image) == 2 else "hwc")  # noqa: PLR2004 - no channels
            channels: Any = known.channels if known else {1: "gray", 3: "rgb", 4: "rgba"}.get(image[-1], "")
            if axes == "hw":
                channels = "gray"
            return FieldSchema(name=name, dtype=column.dtype.name, shape=image, axes=axes, channels=channels)
        if name == MANIPULATION and self.choice.said:
            return FieldSchema(name=name, dtype="int32", shape=())
        column, known = self._columns[name], self._known(name)
        dtype, shape = column.dtype.name, column.shape[1:]
        if known is not None and (known.dtype, known.shape) == (dtype, shape):
            return known
        return FieldSchema(name=name, dtype=dtype, shape=shape)

    def _digest(self, images: Column, sizes: tuple[int, ...]) -> str:
        """Return a digest of the file: of its attributes and a few of its images."""
        facts, length = self.facts, sum(sizes)
        said = [facts.fingerprint, facts.stream, facts.start, facts.stop, length]
        result = hashlib.sha256(json.dumps([1, said, images.dtype.str, list(images.shape[1:])]).encode())
        rows: Int64s = np.unique(np.linspace(0, length - 1, _SKETCHED).astype(np.int64))
        result.update(np.ascontiguousarray(images.take(rows)).data)
        return result.hexdigest()[:24]

    def _order_digest(self, order: RowOrder) -> str:
        """Return a digest of the order of rows and their changes; how they are cut into batches is left out."""
        changes, choice = self._wanted.changes, self.choice
        done = [changes.crop, changes.crop_at, changes.rot90, changes.flip, choice.names, choice.index]
        shuffled = [order.seed, order.run_rows, order.window_runs] if order.shuffle else [order.seed]
        text = json.dumps([1, done, shuffled, list(order.sizes)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def choose_images(found: Mapping[str, h5py.Dataset], name: str, facts: Facts, wanted: Wanted) -> Choice:
    """Return which data sets of a file hold images, and which of them is wanted. Raises SpecError."""
    names, held = image_sets(found, facts), ", ".join(found) or "nothing"
    if wanted.image is not None:
        return Choice((wanted.image,), 0, said=False)
    if not names:
        raise SpecError(f"{name}: no data set of images; it holds: {held}; name one by image=")
    if wanted.manipulation is None:
        return Choice((IMAGE,) if IMAGE in names else names, 0, said=False)
    among = tuple(each for each in names if each != IMAGE)
    known = f"{', '.join(among)} (or their numbers from 0 on), or 'random'"
    if len(among) < 2:  # noqa: PLR2004 - a choice
        raise SpecError(
            f"manipulation = {wanted.manipulation!r}, but {name} has no image for each manipulation: it holds {held}"
        )
    if wanted.manipulation == "random":
        return Choice(among, None, said=True)
    if wanted.manipulation in among:
        return Choice(among, among.index(str(wanted.manipulation)), said=True)
    if isinstance(wanted.manipulation, int) and 0 <= wanted.manipulation < len(among):
        return Choice(among, wanted.manipulation, said=True)
    raise SpecError(f"manipulation = {wanted.manipulation!r}: {name} has {known}")


def image_sets(found: Mapping[str, h5py.Dataset], facts: Facts) -> tuple[str, ...]:
    """Return the names of the data sets that hold images: as the spec says, or of a file of others what looks like it.

    The unchanged image comes first, then the others in the spec's order, or the file's.
    """
    known = facts.plan.settings.transform.image_names if facts.plan else ()
    if known and set(known) <= set(found):
        return tuple(known)
    names = [name for name, data in found.items() if data.shape and is_image(data.shape[1:], data.dtype)]
    return tuple(sorted(names, key=lambda name: name != _UNCHANGED))
