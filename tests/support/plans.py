"""Small StreamPlans for tests, what a worker would make of their tasks, and what a trainer must therefore get.

Owns recognisable samples: every byte of `image` follows from (seed, epoch, item, patch), so that no sample can pass for
another. Knows no core: `expected` walks positions one by one, straight from the definition of a batch.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from penstock.protocol.lease_proofs import LeaseProver
from penstock.protocol.messages import Failure, Item, Lease, LeaseKey, Paths, Result, Task, TaskKey
from penstock.protocol.order import Geometry
from penstock.protocol.outcomes.shares import positions_of, rows_in
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Stream
from penstock.protocol.spec.transform import Patch, Resize, Transform
from penstock.protocol.wire import Array, frames_of
from penstock.sources.directory import DirectorySource

#: Bytes of one sample of these plans: a 1×4 gray image, label, item and patch.
SAMPLE_BYTES = 4 + 4 + 8 + 4
#: What the ventilators of tests prove leases with.
LEASE_KEY = LeaseKey(issuer="v", secret="5" * 32)
_PROVER = LeaseProver(LEASE_KEY)


def make_plan(
    name: str = "train",
    *,
    seed: int = 7,
    items: int = 20,
    patches: int = 1,
    mix: int = 1,
    task_items: int | None = 4,
    batch_size: int = 4,
    drop_remainder: bool = False,
    shuffle: bool = True,
    shard: str = "1/1",
    window_samples: int = 1,
    failure_budget: float = 1.0,
    fingerprint: str = "f",
    fingerprint_1: str = "",
) -> StreamPlan:
    """Return the plan of a tiny stream; `window_samples` is raised to the least that never stalls."""
    size = Resize(height=1, width=4)
    patch = Patch(kind="random", height=1, width=4) if patches > 1 else None
    settings = Stream(
        source=DirectorySource(kind="directory", root="photos"),
        transform=Transform(color="gray", resize=size, patch=patch),
        patches=patches,
        mix=mix,
        shuffle=shuffle,
        shard=shard,
        batch_size=batch_size,
        drop_remainder=drop_remainder,
        failure_budget=failure_budget,
        window_mb=window_samples * SAMPLE_BYTES / 1e6,
        task_items=task_items,
    )
    return StreamPlan(
        name=name,
        seed=seed,
        settings=settings,
        items=items,
        classes=("cat", "dog"),
        fingerprint=fingerprint,
        fingerprint_1=fingerprint_1,
    )


def whole_source(plan: StreamPlan, place: int) -> int:
    """Return the index in the whole source of the item that the order calls `place`."""
    index, count = plan.settings.shard_of
    return index + count * place


def make_task(plan: StreamPlan, key: TaskKey, attempt: int = 0) -> Task:
    """Return a task with its items, as a ventilator that has listed the source would; leased to the worker `w`."""
    geometry = plan.geometry
    slots = geometry.slots(key.ordinal)
    if key.item_offset is not None:
        slots = slots[key.item_offset : key.item_offset + 1]
    epoch = key.ordinal // geometry.tasks_per_epoch
    places = geometry.order(epoch, slots).tolist()
    if key.offsets:
        places = [places[offset] for offset in key.offsets]
    items = tuple(
        Item(item=item, path=f"{item}.jpg", label=item % 2) for item in (whole_source(plan, place) for place in places)
    )
    return leased(Task(key=key, attempt=attempt, epoch=epoch, items=items))


def leased(task: Task, worker: str = "w", holder: int = 1, *, vouched: bool = False) -> Task:
    """Return a task as it is leased to a worker."""
    lease = _PROVER.lease(task.key, worker, holder, [item.name for item in task.items], vouched=vouched)
    return task.replaced(lease=lease)


class PlannedTasks:
    """What a ventilator has listed of these plans: the tasks and paths of made-up items."""

    def __init__(self, *plans: StreamPlan) -> None:
        """Hold these streams."""
        self.plans = plans
        self._by_name = {plan.name: plan for plan in plans}

    def task(self, key: TaskKey, attempt: int) -> Task:
        """Return a task with its items, leased to nobody."""
        return make_task(self._by_name[key.stream], key, attempt).replaced(lease=Lease())

    def paths(self, stream: str, start: int) -> Paths:
        """Return the paths of the items from `start` on."""
        items = self._by_name[stream].items
        return Paths(stream=stream, start=start, total=items, paths=tuple(f"{n}.jpg" for n in range(start, items)))


def pixels(
    seed: int, epoch: int, items: npt.NDArray[np.int64], patches: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Return images, shape (samples, 1, 4, 1), that differ for different arguments."""
    mixed = items * 1_000_003 + patches * 10_007 + epoch * 101 + seed
    mixed = (mixed ^ (mixed >> 7)) * 2_654_435_761 & 0xFFFFFFFF
    return mixed.astype(np.uint32).view(np.uint8).reshape(-1, 1, 4, 1)


def make_samples(plan: StreamPlan, epoch: int, items: list[int], patches: list[int]) -> list[Array]:
    """Return the fields of the named samples."""
    item, patch = np.array(items, np.int64), np.array(patches, np.int64)
    return [pixels(plan.seed, epoch, item, patch), (item % 2).astype(np.int32), item, patch.astype(np.int32)]


def make_result(
    plan: StreamPlan, task: Task, failing: AbstractSet[int] = frozenset(), worker: str = "w"
) -> tuple[Result, list[Array]]:
    """Return what a worker sends for a task; the `failing` items (by index in the whole source) are failures."""
    alive = [item.item for item in task.items if item.item not in failing]
    count = plan.settings.patches
    arrays = make_samples(
        plan, task.epoch, [item for item in alive for _ in range(count)], list(range(count)) * len(alive)
    )
    failures = tuple(
        Failure(offset=task.key.offset_of(place), item=item.item, path=item.path, reason="cannot be decoded")
        for place, item in enumerate(task.items)
        if item.item in failing
    )
    frames = frames_of(plan.schema, arrays)
    result = Result.model_construct(
        key=task.key,
        plan=plan.token,
        worker=worker,
        lease=task.lease,
        failures=failures,
        names=tuple(item.name for item in task.items) if failures else (),
        frames=frames,
    )
    return result, arrays


def shares_of(
    plan: StreamPlan, task: Task, result: Result, arrays: list[Array]
) -> Iterator[tuple[str, Result, list[Array]]]:
    """Yield what a worker sends to which sink: the whole result to the only one, its share to each of several."""
    if not task.destinations:
        yield "", result, arrays
    failed = {failure.offset for failure in result.failures}
    for destination in task.destinations:
        rows = rows_in(positions_of(plan, task.key, failed), destination.positions)
        share = [array[rows] for array in arrays] if len(rows) else []
        frames = frames_of(plan.schema, share) if share else ()
        yield destination.sink, result.model_copy(update={"shares": destination.positions, "frames": frames}), share


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of an epoch, and where in the epoch it stands."""

    place: int
    item: int
    patch: int


@dataclass(frozen=True, slots=True)
class ExpectedBatch:
    """A batch that one rank must get."""

    epoch: int
    start: int
    stop: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class ExpectedEnd:
    """An epoch's end that every rank must be told."""

    epoch: int
    stop: int
    #: Survivors of the epoch that stand in no batch: their places.
    dropped: tuple[int, ...]


@lru_cache(maxsize=256)
def epoch_samples(geometry: Geometry, shard: tuple[int, int], epoch: int) -> tuple[Sample, ...]:
    """Return all samples of an epoch by place, from the order and from where each task's samples stand."""
    samples: dict[int, Sample] = {}
    items = geometry.order(epoch, range(geometry.items)).tolist()
    base = epoch * geometry.samples_per_epoch
    for index in range(geometry.tasks_per_epoch):
        positions = geometry.positions(epoch * geometry.tasks_per_epoch + index).tolist()
        for slot, row in zip(geometry.slots(index), positions, strict=True):
            for patch, position in enumerate(row):
                samples[position - base] = Sample(position - base, shard[0] + shard[1] * items[slot], patch)
    return tuple(samples[place] for place in range(geometry.samples_per_epoch))


def expected(
    plan: StreamPlan,
    dead: AbstractSet[int] | Callable[[int], AbstractSet[int]],
    position: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[ExpectedBatch | ExpectedEnd]:
    """Yield what one trainer must get from `position` on, for ever; items in `dead` (of an epoch) yield no samples."""
    geometry, batch = plan.geometry, plan.settings.batch_size * world_size
    epoch, begin = divmod(position, geometry.samples_per_epoch)
    while True:
        base, lost = epoch * geometry.samples_per_epoch, dead(epoch) if callable(dead) else dead
        start, waiting = base + begin, []
        left = [
            sample
            for sample in epoch_samples(geometry, plan.settings.shard_of, epoch)
            if sample.place >= begin and sample.item not in lost
        ]
        for index, sample in enumerate(left):
            waiting.append(sample)
            last = index + 1 == len(left) and not plan.settings.drop_remainder and len(waiting) >= world_size
            if len(waiting) == batch or last:
                share = waiting[rank * len(waiting) // world_size : (rank + 1) * len(waiting) // world_size]
                stop = base + sample.place + 1
                yield ExpectedBatch(epoch, start, stop, tuple(share))
                start, waiting = stop, []
        yield ExpectedEnd(epoch, base + geometry.samples_per_epoch, tuple(sample.place for sample in waiting))
        epoch, begin = epoch + 1, 0
