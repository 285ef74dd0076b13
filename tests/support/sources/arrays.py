"""Lists arrays and data sets of HDF5 files with forty small images."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from penstock.protocol.spec.source import Source
from penstock.sources.arrays import ArraySource
from penstock.sources.base import list_source
from penstock.sources.hdf5 import Hdf5Source
from penstock.sources.row_listing import RowListing

IMAGES = np.random.default_rng(5).integers(0, 256, (40, 6, 5, 3), np.uint8)
LABELS = np.arange(40) % 4


def arrays(root: Path, images: str = "x.npy", labels: str = "y.npy", **fields: Any) -> RowListing:
    """List arrays below `root`."""
    source = ArraySource(kind="arrays", root="data", images=images, labels=labels, **fields)
    return listed(source, root)


def hdf5(root: Path, **fields: Any) -> RowListing:
    """List a data set of `set.h5` below `root`."""
    return listed(Hdf5Source(kind="hdf5", root="data", path="set.h5", **fields), root)


def listed(source: Source, root: Path) -> RowListing:
    """List a source of rows below `root`."""
    found = list_source(source, {"data": str(root)})
    assert isinstance(found, RowListing)
    return found


def write_hdf5(path: Path, images: Any = IMAGES, labels: Any = LABELS, **options: Any) -> None:
    """Write an HDF5 file with the data sets `image` and `label`."""
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=images, **options)
        file["label"] = labels
