"""Measures what a cache of decoded images gains, for `penstock check`: makes some samples without one and from one."""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import process_time
from typing import TYPE_CHECKING

import numpy as np

from penstock.commands.checking.cache_estimate import CacheEstimate, ImageFile
from penstock.protocol.messages import Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.spec import Cache as CacheSpec
from penstock.sources.base import Roots
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.cache.images import Cache, CacheCounts
from penstock.worker.imaging.cache.store import Store
from penstock.worker.imaging.parts.opening import open_any

if TYPE_CHECKING:
    from penstock.worker.imaging.parts.pipeline import AnyPipeline

#: Items that are made: of so many tasks, so many each; below a URL, of one task.
_TASKS, _ITEMS = 2, 12
#: Most pixels of the files that are decoded before the time is looked at again.
_MOST_PIXELS = 24_000_000
#: Most bytes that their images may take on the disk, and room of the cache that keeps them.
_MOST_BYTES, _ROOM_BYTES = 100_000_000, 2_000_000_000
#: Rounds, of which medians count, and processor seconds after which no further round begins.
_ROUNDS, _BUDGET_S = 3, 1.5
#: From this ratio on, a cache gains something.
_LEAST_RATIO = 1.1


@dataclass(frozen=True, slots=True)
class CacheGain:
    """Processor time of a sample (ms): without a cache, and once its image is in one."""

    without_ms: float
    later_ms: float

    @property
    def ratio(self) -> float:
        """How many times as fast a worker is once all images are kept."""
        return self.without_ms / max(self.later_ms, 1e-9)

    def as_json(self) -> dict[str, object]:
        """Return it as `penstock check --json` shows it."""
        numbers = {"without_ms": self.without_ms, "later_ms": self.later_ms, "ratio": self.ratio}
        return {**numbers, "sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """What `penstock check` says."""
        if self.ratio < _LEAST_RATIO:
            return (
                f"a cache gains nothing here: a kept sample takes {self.later_ms:.2f} ms of processor time, and "
                f"{self.without_ms:.2f} without"
            )
        return (
            f"once it is kept, a sample takes {self.later_ms:.2f} ms of processor time instead of "
            f"{self.without_ms:.2f}: a worker is {self.ratio:.1f} times as fast"
        )


def measure_gain(
    catalog: Catalog, plan: StreamPlan, roots: Roots, estimate: CacheEstimate, images: Sequence[ImageFile]
) -> CacheGain | None:
    """Make some samples of a stream by turns without a cache and from one, in a folder that is removed again.

    `images` are some of its files. None if nothing is kept of them, or if there is no room for them. Raises SpecError
    and SourceError.
    """
    if not estimate.fraction:
        return None
    settings = plan.settings
    bare = plan.model_copy(update={"settings": settings.model_copy(update={"cache": None})})
    kept = plan.model_copy(update={"settings": settings.model_copy(update={"cache": CacheSpec(gb=_ROOM_BYTES / 1e9)})})
    with tempfile.TemporaryDirectory(prefix="penstock-check-", ignore_cleanup_errors=True) as folder:
        store, counts = Store(folder, _ROOM_BYTES), CacheCounts()
        try:
            plain, cached = open_any(bare, roots), open_any(kept, roots, (), Cache(store, counts, settled_s=-1e9))
            until = process_time() + _BUDGET_S
            filled: dict[int, tuple[int, ...]] = {}
            for ordinal, offsets in _units(plan, roots, estimate, images):
                if process_time() < until and _make(cached, [_task(catalog, plan, ordinal, offsets)])[1]:
                    filled[ordinal] = filled.get(ordinal, ()) + offsets
            tasks = [_task(catalog, plan, ordinal, offsets) for ordinal, offsets in filled.items()]
            made, hits, rounds = counts.misses, counts.hits, list[tuple[float, float]]()
            while tasks and len(rounds) < _ROUNDS and (not rounds or process_time() < until):
                rounds.append((_make(plain, tasks)[0], _make(cached, tasks)[0]))
            if not made or counts.hits - hits < made * len(rounds):  # there was no room, or nothing is kept
                return None
        finally:
            store.close()
    without_ms, later_ms = (statistics.median(column) for column in zip(*rounds, strict=True))
    return CacheGain(without_ms, later_ms)


def _units(
    plan: StreamPlan, roots: Roots, estimate: CacheEstimate, images: Sequence[ImageFile]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield some tasks' numbers with offsets of some items in them, the fewer at once the larger the files are."""
    geometry, alone = plan.geometry, is_url(str(roots[plan.settings.source.root]))
    numbers = np.unique(np.linspace(0, geometry.tasks_per_epoch - 1, 1 if alone else _TASKS).astype(int)).tolist()
    room = max(1, _MOST_BYTES // (len(numbers) * estimate.image_bytes))
    pixels = sum(image.height * image.width for image in images) // len(images)
    step = max(1, _MOST_PIXELS // max(pixels, 1))
    for ordinal in numbers:
        items = min(geometry.task_items, plan.items - ordinal * geometry.task_items, _ITEMS, room)
        for first in range(0, items, step):
            yield ordinal, tuple(range(first, min(first + step, items)))


def _task(catalog: Catalog, plan: StreamPlan, ordinal: int, offsets: tuple[int, ...]) -> Task:
    return catalog.task(TaskKey(stream=plan.name, ordinal=ordinal, offsets=offsets), 0)


def _make(pipeline: "AnyPipeline", tasks: Sequence[Task]) -> tuple[float, int]:
    """Make the samples of some tasks; return milliseconds of processor time a sample, and how many there were."""
    began = process_time()
    samples = sum(len(pipeline.run(task).arrays[0]) for task in tasks)
    return 1e3 * (process_time() - began) / max(samples, 1), samples
