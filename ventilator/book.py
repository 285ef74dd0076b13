"""The task book: every stream's listing and plan, and from a unit of work's name to the task with its items.

Owns the way from positions in the order to paths and labels, sharding included. Knows nothing of leases and sockets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from penstock.protocol.errors import SourceError
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.order import Geometry
from penstock.protocol.plan import StreamPlan, fingerprint
from penstock.protocol.spec import Spec
from penstock.ventilator.listing import Listing
from penstock.ventilator.sources import list_source


@dataclass(frozen=True, slots=True)
class _Entry:
    plan: StreamPlan
    geometry: Geometry
    listing: Listing
    #: Shard: the stream's item number n is the listing's number n × stride + first.
    first: int
    stride: int


class TaskBook:
    """All streams of a spec, listed."""

    def __init__(self, entries: Mapping[str, _Entry]) -> None:
        """Hold what `open` found."""
        self._entries = dict(entries)

    @classmethod
    def open(cls, spec: Spec, roots: Mapping[str, str]) -> Self:
        """List every source. Raises SourceError."""
        entries = {}
        for name, settings in spec.streams.items():
            listing = list_source(settings.source, roots)
            first, stride = settings.shard_of
            items = len(range(first, len(listing), stride))
            if not items:
                raise SourceError(
                    f"stream {name!r}: shard {settings.shard} of {len(listing)} items is empty; use fewer shards"
                )
            plan = StreamPlan(
                name=name,
                seed=spec.seed,
                settings=settings,
                items=items,
                classes=tuple(listing.classes),
                fingerprint=fingerprint(spec, settings, listing.digest),
            )
            entries[name] = _Entry(plan, plan.geometry, listing, first, stride)
        return cls(entries)

    @property
    def plans(self) -> tuple[StreamPlan, ...]:
        """The plan of every stream."""
        return tuple(entry.plan for entry in self._entries.values())

    def listing(self, stream: str) -> Listing:
        """Return a stream's listing."""
        return self._entries[stream].listing

    def task(self, key: TaskKey, attempt: int) -> Task:
        """Return the task, or the one item alone, that `key` names."""
        entry = self._entries[key.stream]
        epoch = key.ordinal // entry.geometry.tasks_per_epoch
        slots = entry.geometry.slots(key.ordinal)
        order = entry.geometry.order(epoch, slots) * entry.stride + entry.first
        indices = order.tolist() if key.alone is None else [int(order[key.alone])]
        path, label = entry.listing.path, entry.listing.label
        items = tuple(Item.model_construct(item=index, path=path(index), label=label(index)) for index in indices)
        return Task.model_construct(key=key, attempt=attempt, epoch=epoch, items=items)
