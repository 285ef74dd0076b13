"""The trainer's side: feeds of a running stack and of HDF5 files, and adapters for training frameworks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.trainer.hdf5.feed import Hdf5Feed

__all__ = ["Hdf5Feed"]


def __getattr__(name: str) -> Any:
    """Import `Hdf5Feed` when it is asked for: it needs h5py, which no other trainer does."""
    if name == "Hdf5Feed":
        from penstock.trainer.hdf5.feed import Hdf5Feed  # noqa: PLC0415 - an extra

        return Hdf5Feed
    raise AttributeError(f"module 'penstock.trainer' has no attribute {name!r}")
