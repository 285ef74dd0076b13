"""Adds labels by class mode, other inputs and sample weights to an image iterator's images.

They are looked up by item in this process: workers have no labels, so labels of any shape and type cost no transfer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.image_data_generator.files import Files
from penstock.protocol.order import Int64s

Images = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """All arrays that are looked up by item."""

    #: Arrays of the whole source, one row an item: one array, or a list of arrays for several outputs; None: no labels.
    y: Any = None
    #: Whether the images are their own labels.
    images: bool = False
    #: Further inputs of the model.
    inputs: Sequence[Images] = field(default_factory=tuple)
    weights: Any = None

    def join(self, images: Images, items: Int64s) -> Any:
        """Return a batch as Keras takes it: images, or a tuple of images, labels and, if there are any, weights."""
        x: Any = [images, *(values[items] for values in self.inputs)] if self.inputs else images
        if self.images:
            y: Any = images.copy()
        elif self.y is None:
            return x
        else:
            y = [values[items] for values in self.y] if isinstance(self.y, list) else self.y[items]
        return (x, y) if self.weights is None else (x, y, self.weights[items])


def of_files(files: Files, class_mode: str | None, dtype: Any) -> Targets:
    """Return the targets that a class mode makes of the labels of files."""
    match class_mode:
        case None:
            return Targets()
        case "input":
            return Targets(images=True, weights=files.weights)
        case "multi_output" | "raw":
            return Targets(files.targets, weights=files.weights)
        case "categorical":
            return Targets(_OneHot(files.classes, len(files.class_indices), dtype), weights=files.weights)
        case _:
            return Targets(np.asarray(files.classes, dtype), weights=files.weights)


class _OneHot:
    """Computes rows of a one-hot matrix that would be too large to keep."""

    def __init__(self, classes: Sequence[Any], count: int, dtype: Any) -> None:
        self._classes, self._count, self._dtype = classes, count, dtype

    def __getitem__(self, items: Int64s) -> Images:
        rows = np.zeros((len(items), self._count), self._dtype)
        for row, item in zip(rows, items.tolist(), strict=True):
            row[self._classes[item]] = 1
        return rows
