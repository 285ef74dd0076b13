"""HDF5 files for tests, as Penstock and as others write them: whole, in parts, compressed.

Owns what stands in them: the pixels of image number n follow from n, so that a test sees at once which row it got.
Knows no part of Penstock.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

#: How data sets are stored: in one piece, in chunks of several rows, compressed.
STORED: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "chunks": {"chunks": 4},
    "gzip": {"chunks": 4, "compression": "gzip"},
    "lzf": {"chunks": 3, "compression": "lzf"},
}
#: Manipulations of a file that has an image for each.
MANIPULATIONS = ("img", "gamma08", "qf70")


def images(numbers: Any, *, side: int = 12, manipulation: int = 0) -> Pixels:
    """Return images (n, side, side, 3): all bytes follow from the number and the manipulation."""
    rows = np.asarray(numbers, np.int64)[:, np.newaxis]
    flat = rows * 7919 + np.arange(side * side * 3) * 31 + manipulation * 77
    return (flat % 251).astype(np.uint8).reshape(-1, side, side, 3)


def write_file(
    path: Path, count: int = 50, *, stored: str = "chunks", side: int = 12, several: bool = False, **attributes: Any
) -> Path:
    """Write a file of `count` samples with `image` (or one image a manipulation), `label` and `item`; return it."""
    numbers = np.arange(count)
    fields: dict[str, Any] = {"label": (numbers % 3).astype(np.int32), "item": numbers.astype(np.int64)}
    names = MANIPULATIONS if several else ("image",)
    fields |= {name: images(numbers, side=side, manipulation=index) for index, name in enumerate(names)}
    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            options = dict(STORED[stored])
            if options:
                options["chunks"] = (options["chunks"], *values.shape[1:])
            file.create_dataset(name, data=values, **options)
        file.attrs["classes"] = ["a", "b", "c"]
        file.attrs.update(attributes)
    return path


def write_parts(path: Path, counts: tuple[int, ...] = (20, 13, 17), *, stored: str = "chunks") -> Path:
    """Write the same samples in parts next to a file of virtual data sets over them; return that."""
    total = sum(counts)
    whole = write_file(path.with_suffix(".whole"), total, stored=stored)
    with h5py.File(whole) as source:
        layouts = {name: h5py.VirtualLayout(data.shape, data.dtype) for name, data in source.items()}
        start = 0
        for number, count in enumerate(counts):
            part = path.with_name(f"{path.stem}-{number}.h5")
            with h5py.File(part, "w") as file:
                for name, data in source.items():
                    file.create_dataset(
                        name, data=data[start : start + count], chunks=data.chunks, compression=data.compression
                    )
                    layouts[name][start : start + count] = h5py.VirtualSource(part.name, name, (count, *data.shape[1:]))
            start += count
        with h5py.File(path, "w") as file:
            for name, layout in layouts.items():
                file.create_virtual_dataset(name, layout)
            file.attrs["classes"] = source.attrs["classes"]
    whole.unlink()
    return path
