"""Penstock feeds training loops with images: exactly once, in order, at any number of workers.

This is the public face: `__all__` lists every public name, docs/python.md documents each one, and everything else may
change in any release. A name is imported when it is first used, so `import penstock` costs milliseconds.
"""

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.protocol.version import __version__
from penstock.trainer import adapters as _adapters

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from penstock.image_data_generator.generator import ImageDataGenerator
    from penstock.launcher.images import Images
    from penstock.launcher.stack import LocalStack
    from penstock.protocol.errors import (
        AbandonedError,
        ArgumentError,
        ArgumentTypeError,
        DeadlineError,
        FailureBudgetError,
        ItemError,
        LocalProtocolError,
        MissingFolderError,
        OutputError,
        PenstockError,
        ProtocolError,
        RefusedError,
        RemoteProtocolError,
        SourceError,
        SpecError,
        StackError,
        TransformError,
    )
    from penstock.protocol.messages import EpochEnd
    from penstock.protocol.plan import FieldSchema
    from penstock.protocol.runtime.usage_monitor import Monitor
    from penstock.protocol.snapshot import Snapshot, Verdict
    from penstock.protocol.spec.spec import Spec
    from penstock.trainer.adapters import *  # noqa: F403 - every adapter, under the names of its table
    from penstock.trainer.adapters.batches import BatchSource, ResumableSource
    from penstock.trainer.client.feed import Feed
    from penstock.trainer.feed.loop_log import FeedLog
    from penstock.trainer.feed.metrics import FeedCollector, serve_metrics
    from penstock.trainer.feed.mixed import MixedFeed
    from penstock.trainer.hdf5.feed import Hdf5Feed

__all__ = [
    "AbandonedError",
    "ArgumentError",
    "ArgumentTypeError",
    "BatchSource",
    "DeadlineError",
    "EpochEnd",
    "FailureBudgetError",
    "Feed",
    "FeedCollector",
    "FeedLog",
    "FieldSchema",
    "Hdf5Feed",
    "ImageDataGenerator",
    "Images",
    "ItemError",
    "LocalProtocolError",
    "LocalStack",
    "MissingFolderError",
    "MixedFeed",
    "Monitor",
    "OutputError",
    "PenstockError",
    "ProtocolError",
    "RefusedError",
    "RemoteProtocolError",
    "ResumableSource",
    "Snapshot",
    "SourceError",
    "Spec",
    "SpecError",
    "StackError",
    "TransformError",
    "Verdict",
    "__version__",
    "connect",
    "images",
    "local",
    "serve_metrics",
]
__all__ += _adapters.__all__

#: The module of each public name that is imported on first use; errors are in `protocol.errors`.
_MODULES = {
    "BatchSource": "penstock.trainer.adapters.batches",
    "EpochEnd": "penstock.protocol.messages",
    "Feed": "penstock.trainer.client.feed",
    "FeedCollector": "penstock.trainer.feed.metrics",
    "FeedLog": "penstock.trainer.feed.loop_log",
    "FieldSchema": "penstock.protocol.plan",
    "Hdf5Feed": "penstock.trainer.hdf5.feed",
    "ImageDataGenerator": "penstock.image_data_generator.generator",
    "Images": "penstock.launcher.images",
    "LocalStack": "penstock.launcher.stack",
    "MixedFeed": "penstock.trainer.feed.mixed",
    "Monitor": "penstock.protocol.runtime.usage_monitor",
    "ResumableSource": "penstock.trainer.adapters.batches",
    "Snapshot": "penstock.protocol.snapshot",
    "Spec": "penstock.protocol.spec.spec",
    "Verdict": "penstock.protocol.snapshot",
    "serve_metrics": "penstock.trainer.feed.metrics",
}


if not TYPE_CHECKING:  # type checkers read the imports above: to them, a name that is not there is an error

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attribute may be anything
        """Import a public name when it is first asked for."""
        if name in _adapters.ADAPTERS:
            return getattr(_adapters, name)
        module = _MODULES.get(name, "penstock.protocol.errors" if name.endswith("Error") else "")
        if name not in __all__ or not module:
            here = importlib.import_module(__name__)  # lets Python suggest the name that was meant
            raise AttributeError(f"module 'penstock' has no attribute {name!r}", name=name, obj=here)
        return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)


def connect(  # noqa: PLR0913 - by keyword, each with a default
    address: str | None = None,
    stream: str = "train",
    *,
    rank: int | None = None,
    world_size: int | None = None,
    prefetch: int | None = None,
    timeout_s: float = 120.0,
    keys: "str | Path | None" = None,
    copy: bool = True,
) -> "Feed":
    """Join a running stack: return the feed of one of its streams.

    `address` is the sink's address for trainers: tcp://host:5557, ipc:///path, or local:trainers, where `penstock up`
    and `penstock sink` on this machine listen by default. Default: PENSTOCK_SINK, which an engine such as Slurm sets
    for the programs that it starts, or local:trainers. Trainers that share a stream have a `rank` and a common
    `world_size`; each gets equally many batches. By default, both come from torch.distributed or jax, if that is
    initialised, or from the launcher that started the process: torchrun, Ray Train, Slurm or MPI. `prefetch` is in
    batches (default: 4, or about 64 MB of small ones); every wait ends after `timeout_s` seconds with DeadlineError.
    `keys` is a key folder with a trainer's key (default: PENSTOCK_KEYS, or none). With `copy=False`, fields of 64 KB a
    batch and more are read-only arrays over the memory that workers on this machine have made them in; it is held as
    long as the program keeps such an array. Raises SpecError for arguments out of range, and for ranks that contradict
    one another.
    """
    from penstock.protocol.transport.own_sockets import OWN_TRAINERS  # noqa: PLC0415 - keeps `import penstock` light
    from penstock.trainer.client.feed import Feed  # noqa: PLC0415

    where = os.environ.get("PENSTOCK_SINK", OWN_TRAINERS) if address is None else address
    return Feed(
        where,
        stream,
        rank=rank,
        world_size=world_size,
        prefetch=prefetch,
        timeout_s=timeout_s,
        keys=keys,
        copy=copy,
    )


def local(  # noqa: PLR0913 - by keyword, each with a default
    spec: "str | Path | Mapping[str, Any] | Spec",
    *,
    workers: "int | str | tuple[int, int] | None" = None,
    sinks: int = 1,
    standby: bool = False,
    roots: "Mapping[str, str | PathLike[str]] | None" = None,
    run_dir: "str | Path | None" = None,
    keys: "str | Path | None" = None,
    cache: "str | PathLike[str] | None" = None,
    dashboard: str = "",
) -> "LocalStack":
    """Run a whole stack on this machine while a `with` block lasts, or from `start()` to `stop()`.

    For a folder of images without a spec, call `penstock.images`. `spec` is the path of a TOML file, or its content as
    a mapping; `workers` is a number of processes (default: one a core), "auto" for as many as are needed, up to one a
    core, or bounds such as (1, 16); `sinks` is the number of sinks that share the streams, rank r of w ranks being
    served by number r × sinks // w; with `standby`, a second ventilator takes over when the first one ends or hangs
    (docs/standby.md), and `stack.dashboards` has the pages of both; `roots` maps root names to folders; `run_dir` keeps
    logs and the quarantine ledger (default: a temporary folder); `keys` is a key folder (default: PENSTOCK_KEYS, or
    none); `cache` is the folder for decoded images of streams that have `cache` (default: PENSTOCK_CACHE, or penstock
    in the user's cache folder); `dashboard` is host:port of the page, "auto" for loopback, or empty for none:
    `stack.dashboard` is its address.
    Entering raises SpecError, SourceError or StackError if the stack cannot start.

    Examples:
        >>> with penstock.local("spec.toml", workers=4) as stack:  # doctest: +SKIP
        ...     for batch in stack.feed("train"):
        ...         train(batch["image"], batch["label"])
    """
    from penstock.launcher.spare import prepared  # noqa: PLC0415 - keeps `import penstock` light

    with prepared():  # another process imports what services need at the same time
        from penstock.launcher.arguments import cache_options  # noqa: PLC0415
        from penstock.launcher.stack import LocalStack  # noqa: PLC0415

    options = {"worker": cache_options(cache)}
    return LocalStack(
        spec,
        workers=workers,
        sinks=sinks,
        standby=standby,
        roots=roots,
        run_dir=run_dir,
        keys=keys,
        options=options,
        dashboard=dashboard,
    )


def images(  # noqa: PLR0913 - by keyword, each with a default
    folder: "str | PathLike[str]",
    *,
    size: tuple[int, int] | int | None = None,
    recipe: str | None = None,
    validation_split: float = 0.0,
    batch_size: int = 32,
    augment: Mapping[str, Any] | None = None,
    color: str = "rgb",
    fit: str = "stretch",
    classes: Sequence[str] | None = None,
    seed: int = 0,
    workers: "int | str | tuple[int, int] | None" = None,
    cache_gb: float | None = None,
    cache: "str | PathLike[str] | None" = None,
    dashboard: str = "",
) -> "Images":
    """Stream a folder of images with one subfolder per class: start workers and return the streams, ready to iterate.

    `size` is (height, width) in pixels; default: 224 × 224, or the recipe's. `recipe` names the random changes of
    training images, such as "imagenet-train"; validation images are then prepared as that recipe wants them. With
    "coco-detection" and "segmentation" the folder holds annotations, which become targets (docs/targets.md).
    `validation_split` is the fraction of each class that is held out; a folder that holds `train` and `validation` (or
    `val`) needs none. `augment` are random changes of training images in place of a recipe, by the names of the spec's
    `augment`. `color` is "rgb", "gray" or "rgba"; `fit` is "stretch", or "cover" to keep the aspect ratio; `classes`
    are the class names in label order (default: all subfolders, sorted). With `cache_gb`, images are decoded once and
    kept, up to so many GB (docs/cache.md). `workers`, `cache` and `dashboard` are as for `penstock.local`. Calling it
    again for the same folder replaces the streams of the call before.

    Raises SpecError, SourceError or StackError.

    Examples:
        >>> train, validation = penstock.images("photos", size=(96, 96), validation_split=0.2)  # doctest: +SKIP
        >>> for batch in train:  # doctest: +SKIP
        ...     step(batch["image"], batch["label"])
    """
    from penstock.launcher.spare import prepared  # noqa: PLC0415 - keeps `import penstock` light

    with prepared():  # another process imports what services need at the same time
        from penstock.launcher.arguments import cache_options  # noqa: PLC0415
        from penstock.launcher.images import Images, images_spec, with_cache  # noqa: PLC0415
        from penstock.launcher.stack import LocalStack  # noqa: PLC0415

    options: dict[str, Any] = {
        "size": size,
        "recipe": recipe,
        "validation_split": validation_split,
        "batch_size": batch_size,
        "augment": augment,
    }
    options |= {"color": color, "fit": fit, "classes": classes, "seed": seed}
    spec, kept = with_cache(images_spec(folder, options), cache_gb, cache), {"worker": cache_options(cache)}
    return Images(LocalStack(spec, workers=workers, options=kept, dashboard=dashboard).start())
