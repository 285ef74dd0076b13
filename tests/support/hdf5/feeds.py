"""Settings and helpers of tests that read small HDF5 files by a feed."""

from typing import Any

from support.streams import Batch

COUNT = 50
#: Runs of a few rows and windows of a few runs, so that a small file has many.
SMALL: dict[str, Any] = {"batch_size": 8, "run_mb": 0.002, "window_mb": 0.008}


def small(**changes: Any) -> dict[str, Any]:
    """Return `SMALL` with changes."""
    return dict(SMALL, **changes)


def items(batches: list[Batch]) -> list[int]:
    """Return the items of batches, in order."""
    return [item for batch in batches for item in batch["item"].tolist()]
