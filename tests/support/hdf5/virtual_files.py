"""Virtual data sets over many small files, in arrangements that Penstock and others write."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]
SHAPE = (8, 6, 3)


def pixels(count: int) -> Pixels:
    """Return images (count, 8, 6, 3) of levels from 1 to 255: a zero is a fill value."""
    return np.random.default_rng(7).integers(1, 256, (count, *SHAPE)).astype(np.uint8)


def write_parts(folder: Path, parts: int, rows: int = 8, **options: Any) -> Path:
    """Write `parts` files of `rows` images and labels each, and `all.h5` over them; return that."""
    images, labels = pixels(parts * rows), np.arange(parts * rows) % 4
    virtual = h5py.VirtualLayout(images.shape, np.uint8), h5py.VirtualLayout(labels.shape, np.int64)
    for number in range(parts):
        mine = slice(number * rows, (number + 1) * rows)
        with h5py.File(folder / f"part{number:03}.h5", "w") as file:
            file.create_dataset("image", data=images[mine], **options)
            file["label"] = labels[mine]
        virtual[0][mine] = h5py.VirtualSource(f"part{number:03}.h5", "image", images[mine].shape)
        virtual[1][mine] = h5py.VirtualSource(f"part{number:03}.h5", "label", labels[mine].shape)
    with h5py.File(folder / "all.h5", "w") as file:
        for name, layout in zip(("image", "label"), virtual, strict=True):
            file.create_virtual_dataset(name, layout)
    return folder / "all.h5"


def write_endless(path: Path, part: str) -> None:
    """Write a virtual data set whose part is named by a pattern, such as `d-%b/x.h5`, and may go on for ever."""
    rows = h5py.h5s.create_simple((1, *SHAPE), (h5py.h5s.UNLIMITED, *SHAPE))
    rows.select_hyperslab((0, 0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1, 1), (1, *SHAPE), (1, *SHAPE))
    source = h5py.h5s.create_simple((1, *SHAPE), (h5py.h5s.UNLIMITED, *SHAPE))
    if "%b" not in part:
        source.select_hyperslab((0, 0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1, 1), (1, *SHAPE), (1, *SHAPE))
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_virtual(rows, part.encode(), b"image", source)
    with h5py.File(path, "w", libver="latest") as file:
        h5py.h5d.create(file.id, b"image", h5py.h5t.NATIVE_UINT8, rows, creation)
