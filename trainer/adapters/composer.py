"""MosaicML Composer: `FeedLoader`, what its Trainer trains from and what puts the position into its checkpoints."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.trainer.adapters.composer_loader import FeedLoader

__all__ = ["FeedLoader"]


def __getattr__(name: str) -> Any:
    """Import Composer when `FeedLoader` is asked for. Raises PenstockError if it is missing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from penstock.trainer.adapters.composer_loader import FeedLoader  # noqa: PLC0415 - Composer takes seconds

    return FeedLoader
