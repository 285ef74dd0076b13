"""Folders with what the scripts that make feeds need: a stream's spec over real images, and an HDF5 file."""

import json
from pathlib import Path

import h5py
import numpy as np
from support.streams import make_images, make_spec, make_stream


def write_feed_folder(folder: Path, rows: int) -> Path:
    """Write `spec.json` over 2 × 10 images, and `rows.h5` with `rows` labelled images; return the folder."""
    stream = make_stream(transform={"resize": {"height": 16, "width": 16}}, patches=1, mix=1, batch_size=4)
    spec = make_spec(make_images(folder / "photos", each=10), train=stream)
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    with h5py.File(folder / "rows.h5", "w") as file:
        file["image"] = np.ones((rows, 8, 8, 3), np.uint8)
        file["label"] = np.arange(rows, dtype=np.int32)
    return folder
