"""PyTorch: `loader` and `TorchLoader` of a feed's batches, and the drop-in `DataLoader`, which has workers of its own.

Each is imported when it is first asked for: with `DataLoader`, the process that starts its workers begins to import
before anything else is (`launcher/pytorch/data_loader.py`).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.trainer.adapters.batches import ResumableSource
    from penstock.trainer.adapters.torch_loader import TorchLoader


def loader(
    feed: "ResumableSource",
    *,
    device: Any = None,
    channels_last: bool | None = None,
    fields: tuple[str, ...] | None = None,
    prefetch_to_device: int = 2,
) -> "TorchLoader":
    """Return a loader of a feed's batches: dicts of tensors by field, or tuples of `fields` in that order.

    Images are (n, channels, height, width), uint8 unless the stream normalises them. With `channels_last` None their
    memory stays as received, channels innermost, which is PyTorch's channels_last format: nothing is copied. True
    asks for that format whatever was received, False for contiguous tensors.

    `device` is where tensors are put; None or "cpu": they share memory with the batch. For other devices at most
    `prefetch_to_device` batches are copied ahead, on a thread, and on CUDA on a stream of its own. Raises SpecError for
    unknown fields, PenstockError if PyTorch is missing.
    """
    from penstock.trainer.adapters.torch_loader import TorchLoader  # noqa: PLC0415 - see above

    return TorchLoader(
        feed, device=device, channels_last=channels_last, fields=fields, prefetch_to_device=prefetch_to_device
    )


#: Where the other names are; the launcher, which has those that need a stack, lies above the adapters.
_MODULES = {
    "TorchLoader": "penstock.trainer.adapters.torch_loader",
    "DataLoader": "penstock.launcher.pytorch.data_loader",
    "ImportedDataset": "penstock.launcher.pytorch.imported_dataset",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
