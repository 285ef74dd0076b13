"""A stream with its source listed: the schema of its samples, its sizes, its classes and its fingerprint.

The ventilator sends a plan to every peer. Where the files lie is each host's own setting.
"""

import math
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from penstock.protocol.order import Geometry, Int64s
from penstock.protocol.sampling.groups import Groups
from penstock.protocol.sampling.order import GroupedOrder
from penstock.protocol.sampling.shard_order import ShardOrder, Shards
from penstock.protocol.spec.choice.part_transforms import with_transform
from penstock.protocol.spec.model import Model, Name
from penstock.protocol.spec.schema import FieldSchema, schema_before, schema_of
from penstock.protocol.spec.source import MIXTURE
from penstock.protocol.spec.spec import Stream
from penstock.protocol.spec.transform import Transform

__all__ = ["FieldSchema", "StreamPlan", "Which", "default_task_items", "schema_before", "schema_of"]

#: Batches that a trainer has ahead by default: at least so many, at most so many, and in between so much (bytes).
LEAST_PREFETCH, _MOST_PREFETCH, _PREFETCH_BYTES = 4, 128, 64_000_000

#: Blocks that a window holds at most.
MOST_BLOCKS = 4096
#: Tasks that `window_epochs` leaves room for: each of several workers has one to make and the next ones in hand.
ENOUGH_TASKS = 16
#: By default, a task has about so many bytes, and an epoch so many tasks or more, unless they had fewer than so many
#: items. A task near this size costs little to hand over, compared with decoding, and still balances the load.
_TASK_BYTES, _TASKS_AN_EPOCH, _FEW_ITEMS = 4_000_000, 64, 16
#: Kinds of source whose items need no decoding, and how many times as many items and bytes their tasks have: an item
#: takes a small part of the time. By name, since all parts must agree on it, and one may run where the kind is not
#: installed.
_PIXELS, _TIMES_ITEMS, _TIMES_BYTES = frozenset(("arrays", "hdf5")), 2, 4
#: Items that a source may have where some come several times in an epoch.
_MOST_ITEMS = 2**40
#: Which items of a task are meant: the one at an offset, those at some offsets, or all.
Which = int | tuple[int, ...] | None


class StreamPlan(Model):
    """The plan of a stream: its spec, and facts from the listing of its source."""

    name: Name
    """The stream's name."""
    seed: int
    """The spec's seed."""
    settings: Stream
    """The stream's part of the spec."""
    items: int = Field(ge=1)
    """Items in an epoch, after sharding; one that comes several times counts as often."""
    groups: Groups | None = None
    """Groups of items that share an epoch by weight; none: every item comes once an epoch."""
    shards: Shards | None = None
    """Shards of the source, where `shuffle = "shards"`; none: the order knows none."""
    classes: tuple[str, ...]
    """Class names in label order."""
    fingerprint: str
    """Digest of all that determines the samples: seed, source listing, transform and order."""
    fingerprint_1: str = ""
    """The same by the rules of version 1, by which older positions and files are recognised; empty: it has none."""
    copy_digest: str = ""
    """Digest that a worker compares with its own copy of the data, such as that of an array's shape, labels and some
    rows; empty: nothing is compared."""

    @model_validator(mode="before")
    @classmethod
    def _take_former_name(cls, data: Any) -> Any:  # noqa: ANN401 - not checked yet
        """Read plans of older files, in which `copy_digest` is called `sketch`."""
        if isinstance(data, dict) and "sketch" in data:
            return {("copy_digest" if key == "sketch" else key): value for key, value in data.items()}
        return data

    def with_transform(self, transform: Transform) -> "StreamPlan":
        """Return the plan with another transform that makes the same fields; for the parts of a mixture."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        fields["settings"] = with_transform(self.settings, transform)
        return StreamPlan.model_construct(self.model_fields_set, **fields)

    def is_of(self, fingerprint: str) -> bool:
        """Return whether a position or file with this fingerprint belongs to this stream."""
        return bool(fingerprint) and fingerprint in (self.fingerprint, self.fingerprint_1)

    @cached_property
    def token(self) -> str:
        """Digest of the samples and of how tasks number them, which a result and the sink's plan must share."""
        return f"{self.fingerprint}/{self.geometry.task_items}"

    @cached_property  # pydantic's own method of this name is deprecated; the word is ours
    def schema(self) -> tuple[FieldSchema, ...]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """The fields of a sample, in the order of their frames."""
        return schema_of(self.settings)

    @cached_property
    def sample_bytes(self) -> int:
        """Bytes of one sample, all fields."""
        return sum(field.sample_bytes for field in self.schema)

    @property
    def task_bytes(self) -> int:
        """Bytes of the samples of one task."""
        return self.geometry.task_items * self.settings.patches * self.sample_bytes

    @cached_property
    def geometry(self) -> Geometry:
        """The arithmetic of the stream's positions."""
        return Geometry(
            seed=self.seed,
            items=self.items,
            patches=self.settings.patches,
            mix=self.settings.mix,
            task_items=default_task_items(self.settings, self.sample_bytes, self.items),
            shuffle=self.settings.shuffle is True,
        )

    def indices(self, ordinal: int, which: Which = None) -> Int64s:
        """Return the items of a task, or of those at some offsets of it, as indices in the whole source."""
        if isinstance(which, tuple):
            return self.indices(ordinal)[list(which)]
        geometry = self.geometry
        return self.items_at(ordinal // geometry.tasks_per_epoch, _part(geometry.slots(ordinal), which))

    def items_at(self, epoch: int, slots: range) -> Int64s:
        """Return the items at some slots of an epoch, as indices in the whole source."""
        if self._grouped is not None:
            return self._grouped.at(epoch, slots)[0]
        if self._sharded is not None:
            return self._sharded.at(epoch, slots)
        first, stride = self.settings.shard_of
        order = self.geometry.order(epoch, slots)
        return order * stride + first if stride > 1 else order

    def draw_keys(self, ordinal: int, which: Which = None) -> Int64s:
        """Return what keys the random draws of each item of a task: its index, and how often it came in the epoch.

        So an item's second samples of an epoch differ from its first ones.
        """
        if isinstance(which, tuple):
            return self.draw_keys(ordinal)[list(which)]
        items = self.indices(ordinal, which)
        if self._grouped is None:
            return items
        geometry = self.geometry
        slots = _part(geometry.slots(ordinal), which)
        return items + self._grouped.at(ordinal // geometry.tasks_per_epoch, slots)[1] * _MOST_ITEMS

    def parts_of(self, items: Int64s) -> Int64s | None:
        """Return which part of a mixture each item comes from; None if the source is none."""
        if self.groups is None or self.settings.source.kind_name != MIXTURE:
            return None
        return np.searchsorted(np.cumsum(self.groups.sizes), items, side="right")

    @cached_property
    def _sharded(self) -> ShardOrder | None:
        return ShardOrder(self.seed, self.shards, self.settings.shard_of) if self.shards else None

    @cached_property
    def _grouped(self) -> GroupedOrder | None:
        return GroupedOrder(self.geometry, self.groups, self.settings.shard_of) if self.groups else None

    @property
    def default_prefetch(self) -> int:
        """Batches that a trainer asks for ahead unless it says otherwise: a few, or some megabytes of small ones."""
        batch_bytes = self.settings.batch_size * self.sample_bytes
        return max(LEAST_PREFETCH, min(_MOST_PREFETCH, _PREFETCH_BYTES // batch_bytes))

    def epoch_of(self, position: int) -> int:
        """Return the epoch that a position is in."""
        return position // self.geometry.samples_per_epoch

    def epoch_span(self, epoch: int) -> tuple[int, int]:
        """Return the positions [start, stop) of an epoch."""
        size = self.geometry.samples_per_epoch
        return epoch * size, (epoch + 1) * size

    def batches_per_epoch(self, world_size: int = 1) -> int:
        """Return how many batches each of `world_size` trainers gets of an epoch of which nothing is quarantined."""
        full, rest = divmod(self.geometry.samples_per_epoch, self.settings.batch_size * world_size)
        return full + (rest >= world_size and not self.settings.drop_remainder)

    @property
    def task_samples(self) -> int:
        """Samples of a whole task: an epoch may be shorter than the task that its items would fill."""
        return min(self.geometry.task_items * self.geometry.patches, self.geometry.samples_per_epoch)

    def round_samples(self, world_size: int = 1) -> int:
        """Return the most samples of a round, a batch for each of `world_size` trainers: no round leaves its epoch."""
        return min(self.settings.batch_size * world_size, self.geometry.samples_per_epoch)

    def window(self, world_size: int = 1) -> int:
        """Return how many samples the sink may hold ahead of one trainer.

        As many as `window_mb` and `window_epochs` allow, but enough never to stall. The number of blocks is capped: for
        a source of a million small images in tasks of one, 256 MB would be as many tasks, leased and reported each.
        """
        geometry = self.geometry
        epoch = geometry.samples_per_epoch
        block = min(geometry.block_samples, epoch)
        least = 2 * self.round_samples(world_size) + 2 * block
        by_epochs = max(self.settings.window_epochs * epoch, ENOUGH_TASKS * self.task_samples)
        return max(least, min(self.window_by_mb, by_epochs, MOST_BLOCKS * block))

    @property
    def window_by_mb(self) -> int:
        """How many samples `window_mb` holds."""
        return int(self.settings.window_mb * 1e6 / self.sample_bytes)


def _part(slots: range, item_offset: int | None) -> range:
    return slots if item_offset is None else slots[item_offset : item_offset + 1]


def default_task_items(stream: Stream, sample_bytes: int, items: int) -> int:
    """Return how many items make a task: `task_items`, or by size, nested with the mix window.

    By size: about 4 MB of samples, but no more than a 64th of the epoch's items, so that the first batch is there soon,
    all workers have work and a lost task is little; yet at least 16 items, where 4 MB hold them. Twice as many items
    and four times the bytes where nothing is decoded. Whole batches where that comes near: a batch of one task's
    samples is passed on as it lies.
    """
    times, times_bytes = (_TIMES_ITEMS, _TIMES_BYTES) if stream.source.kind_name in _PIXELS else (1, 1)
    target_bytes = times_bytes * _TASK_BYTES
    by_bytes = max(1, target_bytes // (sample_bytes * stream.patches))
    wanted = stream.task_items or min(1024 * times, by_bytes, max(_FEW_ITEMS, times * items // _TASKS_AN_EPOCH))
    batch_items = stream.batch_size // math.gcd(stream.batch_size, stream.patches)
    batch_fits = batch_items <= wanted or batch_items * stream.patches * sample_bytes <= 2 * target_bytes
    if stream.task_items is None and batch_fits:
        wanted = max(1, wanted // batch_items) * batch_items
    if wanted >= stream.mix:
        return wanted // stream.mix * stream.mix
    nested = max(divisor for divisor in _divisors(stream.mix) if divisor <= wanted)
    if stream.task_items is None and 4 * nested < min(_FEW_ITEMS, wanted) and stream.mix <= min(1024, by_bytes):
        return stream.mix  # a prime number, such as 997: better one large task than tasks of one item
    return nested


def _divisors(number: int) -> list[int]:
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return small + [number // divisor for divisor in small]
