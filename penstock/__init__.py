"""Penstock feeds training loops with images: exactly once, in order, at any number of workers.

The public face. Everything heavy is imported on first use: `import penstock` costs milliseconds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.protocol.version import __version__

if TYPE_CHECKING:
    from penstock.image_data_generator.generator import ImageDataGenerator
    from penstock.launcher.stack import LocalStack
    from penstock.protocol.spec.spec import Spec
    from penstock.trainer.client.feed import Feed

__all__ = ["ImageDataGenerator", "__version__", "connect", "local"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - of a module: anything
    """Import `ImageDataGenerator` when it is asked for: it needs numpy."""
    if name == "ImageDataGenerator":
        from penstock.image_data_generator.generator import ImageDataGenerator  # noqa: PLC0415 - keeps the import light

        return ImageDataGenerator
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")


def connect(  # noqa: PLR0913 - by keyword, each with a default
    address: str,
    stream: str = "train",
    *,
    rank: int = 0,
    world_size: int = 1,
    prefetch: int | None = None,
    timeout_s: float = 120.0,
    keys: str | Path | None = None,
) -> "Feed":
    """Join a running stack: return the feed of one of its streams.

    `address` is the sink's address for trainers (tcp://host:5557 or ipc:///path). Trainers that share a stream give
    their `rank` and the common `world_size`; each gets equally many batches. `prefetch` is in batches (default: 4, or
    about 8 MB of small ones); every wait ends after `timeout_s` seconds with DeadlineError. `keys` is a key folder with
    a trainer's key (default: the environment's PENSTOCK_KEYS, or none). Raises SpecError for arguments out of range.
    """
    from penstock.trainer.client.feed import Feed  # noqa: PLC0415 - keeps `import penstock` light

    return Feed(address, stream, rank=rank, world_size=world_size, prefetch=prefetch, timeout_s=timeout_s, keys=keys)


def local(
    spec: "str | Path | Mapping[str, Any] | Spec",
    *,
    workers: int | None = None,
    roots: Mapping[str, str] | None = None,
    run_dir: str | Path | None = None,
    keys: str | Path | None = None,
    dashboard: str = "",
) -> "LocalStack":
    """Run a whole stack on this machine while a `with` block lasts.

    `spec` is the path of a TOML file, or its content as a mapping; `workers` is a number of processes (default: one a
    core); `roots` maps root names to folders; `run_dir` keeps logs and the quarantine ledger (default: a temporary
    folder); `keys` is a key folder (default: PENSTOCK_KEYS, or none); `dashboard` is host:port of the page, "auto" for
    loopback, or empty for none: `stack.dashboard` is its address. Entering raises SpecError, SourceError or StackError,
    in words, if the stack cannot start.

    Examples:
        >>> with penstock.local("spec.toml", workers=4) as stack:  # doctest: +SKIP
        ...     for batch in stack.feed("train"):
        ...         train(batch["image"], batch["label"])
    """
    from penstock.launcher.stack import LocalStack  # noqa: PLC0415 - keeps `import penstock` light

    return LocalStack(spec, workers=workers, roots=roots, run_dir=run_dir, keys=keys, dashboard=dashboard)
