"""Sources whose items are rows, opened: what the ventilator lists and what workers read, with the same result for both.

Handles shapes, element types, labels, classes, subsets, and the digest by which a worker recognises that its copy is
the listed one.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.order import Int64s, permute
from penstock.protocol.spec.source import Source
from penstock.protocol.storage.array_types import Bools, Int32s, Levels, Stored
from penstock.protocol.storage.labels import class_name, number_labels

#: Most channels of an image.
_CHANNELS = (1, 3, 4)
#: Classes that labels without names may count; more is a mistake, such as a column of identifiers.
_MOST_CLASSES = 100_000
#: Keys the permutation that splits off the validation subset; another key would be another split.
_SPLIT = 0x5350_4C49_54
#: Rows, evenly spread, that the copy's digest covers.
_COMPARED_ROWS = 64
#: Bytes that are examined at once.
_BLOCK_BYTES = 8_000_000


@dataclass(frozen=True, slots=True, eq=False)
class SourceRows:
    """The items of a source of rows: images as uint8 (height, width, channels), with their labels."""

    kind: str
    images: Stored
    #: Class index of each item; -1 without labels.
    labels: Int32s
    classes: tuple[str, ...]
    #: Row of each item; None: the item's own number.
    chosen: Int64s | None

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of each image."""
        return image_shape(self.images)

    def path(self, item: int) -> str:
        """Return how messages name an item."""
        return row_name(self.images.name, self.chosen, item)

    def read(self, items: Int64s) -> tuple[Levels, Bools | None]:
        """Return the images of `items`, uint8 (n, height, width, channels), and which of them have other values.

        Raises ItemError if the file has been changed since it was opened.
        """
        stack, wrong = to_levels(self.images.take(items if self.chosen is None else self.chosen[items]))
        return stack.reshape(len(items), *self.image_shape), wrong

    def copy_digest(self) -> str:
        """Return a digest of the shape, the labels and a few images: equal for copies, quick for any size.

        Raises SourceError if they cannot be read.
        """
        count = self.images.shape[0]
        rows = np.unique(np.linspace(0, count - 1, _COMPARED_ROWS).astype(np.int64))
        result = hashlib.sha256(json.dumps([list(self.images.shape), len(self)]).encode())
        result.update(self.labels.astype("<i4", copy=False).data)
        try:
            result.update(to_levels(self.images.take(rows))[0].data)
        except ItemError as error:
            raise SourceError(str(error)) from error
        finally:
            self.images.release()
        return result.hexdigest()[:32]

    def blocks(self, most_bytes: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield (first row, rows) of all images as they are stored, or of evenly spread runs of `most_bytes` in all."""
        count, row_bytes = self.images.shape[0], self.images.dtype.itemsize * math.prod(self.images.shape[1:])
        step = max(1, _BLOCK_BYTES // row_bytes)
        starts = list(range(0, count, step))
        if count * row_bytes > most_bytes:
            starts = np.linspace(0, count - step, max(2, most_bytes // (step * row_bytes))).astype(np.int64).tolist()
        for start in starts:
            yield start, self.images.run(start, min(start + step, count))


def open_rows(source: Source, images: Stored, labels: Stored | None, names: Sequence[str] | None) -> SourceRows:
    """Return the items of a source whose images, labels and class names (of the file) these are. Raises SourceError."""
    _check_images(images)
    count = images.shape[0]
    numbers, classes = _no_labels(source, count) if labels is None else _labels(source, labels, count, names)
    chosen = _chosen(source, numbers)
    if labels:
        labels.release()
    return SourceRows(source.kind_name, images, numbers if chosen is None else numbers[chosen], classes, chosen)


def image_shape(images: Stored) -> tuple[int, int, int]:
    """Return height, width and channels of an array of images."""
    height, width, *channels = images.shape[1:]
    return height, width, channels[0] if channels else 1


def row_name(name: str, chosen: Int64s | None, item: int) -> str:
    """Return how messages name an item of the array `name`."""
    return f"{name}[{item if chosen is None else chosen[item]}]"


def to_levels(stack: npt.NDArray[Any]) -> tuple[Levels, Bools | None]:
    """Return numbers as uint8, and which rows hold a number that is not whole or not within 0 to 255 (None: no row)."""
    if stack.dtype == np.uint8:
        return stack, None
    with np.errstate(invalid="ignore"):  # what does not fit is found by comparison
        levels = stack.astype(np.uint8)
    wrong: Bools = (levels != stack).reshape(len(stack), -1).any(axis=1)
    return levels, wrong if wrong.any() else None


def _check_images(images: Stored) -> None:
    shape = images.shape
    if not (len(shape) == 3 or (len(shape) == 4 and shape[3] in _CHANNELS)) or 0 in shape:  # noqa: PLR2004 - N, H, W, C
        raise SourceError(
            f"{images.name}: images of shape {shape}: it must be (N, height, width) or (N, height, width, channels) of "
            "1, 3 or 4 channels, and not be empty"
        )
    if images.dtype.kind not in "uif":
        raise SourceError(f"{images.name}: images of dtype {images.dtype}: save them as uint8")


def _no_labels(source: Source, count: int) -> tuple[Int32s, tuple[str, ...]]:
    if source.classes is not None:
        raise SourceError(f"classes = {list(source.classes)!r}, but no labels are given: leave classes out")
    return np.full(count, -1, np.int32), ()


def _labels(source: Source, labels: Stored, count: int, names: Sequence[str] | None) -> tuple[Int32s, tuple[str, ...]]:
    """Return the class index of each item, and the classes.

    Whole numbers from 0 on are class indices. Others (-1, 0.5) name classes, like the labels of a manifest.
    """
    if labels.shape not in ((labels.shape[:1]), (*labels.shape[:1], 1)):
        raise SourceError(
            f"{labels.name}: labels of shape {labels.shape}: it must be (N,) or (N, 1); of one-hot rows take the argmax"
        )
    if labels.shape[0] != count:
        raise SourceError(f"{labels.name}: {labels.shape[0]} labels, but there are {count} images")
    if labels.dtype.kind not in "uibf":
        raise SourceError(f"{labels.name}: labels of dtype {labels.dtype}: save them as numbers, such as int32")
    values = labels.run(0, count).reshape(-1)
    if labels.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        row = int(finite.argmin())
        class_name(values[row], f"{labels.name}[{row}]")  # raises, in the words that every source has
    if (values == -1).all():  # what Penstock writes for samples without a label
        raise SourceError(f"{labels.name}: all labels are -1, which means none: give labels = ''")
    known = source.classes if source.classes is not None else names
    if values.min() < 0 or (labels.dtype.kind == "f" and (values != np.trunc(values)).any()):
        return number_labels(values, known, labels.name, _MOST_CLASSES)
    row = int(values.argmax())
    if (largest := int(values[row])) >= 2**31:
        raise SourceError(f"{labels.name}[{row}] = {largest}: a label that is a class index must be below 2^31")
    if known is None and largest >= _MOST_CLASSES:
        raise SourceError(f"{labels.name}: label {largest}: give the names as source.classes if it is a class")
    if known is not None and largest >= len(known):
        raise SourceError(f"{labels.name}[{row}] = {largest}, but there are {len(known)} classes: name all of them")
    return values.astype(np.int32), tuple(map(str, range(largest + 1))) if known is None else tuple(known)


def _chosen(source: Source, numbers: Int32s) -> Int64s | None:
    """Return the rows of the subset: of each class, `round(fraction × n)` of its n rows are the validation side."""
    if source.subset == "all":
        return None
    places = permute(np.arange(len(numbers), dtype=np.int64), len(numbers), _SPLIT)
    order = np.lexsort((places, numbers))  # by class, then by place
    held_out = np.zeros(len(numbers), np.bool_)
    start = 0
    for count in np.unique(numbers, return_counts=True)[1].tolist():
        held_out[order[start : start + round(source.validation_split * count)]] = True
        start += count
    chosen = np.flatnonzero(held_out == (source.subset == "validation")).astype(np.int64)
    if not len(chosen):
        raise SourceError(
            f"subset {source.subset!r} of {len(numbers)} rows is empty at validation_split = "
            f"{source.validation_split}: choose another fraction"
        )
    return chosen
