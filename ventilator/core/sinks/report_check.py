"""Checks what one of several sinks reports of a stream: tasks, positions and items that there are.

Part of the leases core: no socket, no clock.
"""

from operator import attrgetter

from penstock.protocol import ranges
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import StreamNeed
from penstock.protocol.order import Geometry

#: No position is higher than this; far below what numpy's integers hold.
_LAST = 2**61
#: A report lists thousands of results until they are settled, nearly all of them whole.
_ORDINAL, _OFFSETS = attrgetter("ordinal"), attrgetter("offsets")


def check_need(geometry: Geometry, need: StreamNeed) -> None:
    """Raise RemoteProtocolError if a report makes no sense."""
    name = need.stream
    if not all(map(ranges.is_normal, (need.lacks, need.settled))):
        raise RemoteProtocolError("progress", f"{name}: no list of positions or tasks")
    highest = max([0, *(stop for spans in (need.missing, need.settled) for _, stop in spans[-1:])])
    if any(stop > _LAST for _, stop in need.lacks[-1:]) or _start(geometry, highest) > _LAST:
        raise RemoteProtocolError("progress", f"{name}: positions or tasks beyond all ends")
    end = _LAST // geometry.samples_per_epoch * geometry.tasks_per_epoch  # the first task beyond `_LAST`
    if max(map(_ORDINAL, need.made), default=0) >= end:
        raise RemoteProtocolError("progress", f"{name}: tasks beyond all ends")
    partly = [made for made in need.made if made.offsets] if any(map(_OFFSETS, need.made)) else []
    told = [(made.ordinal, made.offsets[-1:]) for made in partly]
    told += [(each.ordinal, (each.failure.offset,)) for each in need.failing]
    told += [(each.ordinal, (each.failure.offset,)) for each in need.failed]
    told += [(ordinal, offsets[-1:]) for ordinal, offsets, _ in need.bare]
    for ordinal, offsets in told:
        if _start(geometry, ordinal) > _LAST or any(each >= len(geometry.slots(ordinal)) for each in offsets):
            raise RemoteProtocolError("progress", f"{name}/{ordinal}: has no items {offsets}")
    lists = [made.offsets for made in partly] + [offsets for _, offsets, _ in need.bare]
    if any(list(offsets) != sorted(set(offsets)) for offsets in lists):
        raise RemoteProtocolError("progress", f"{name}: no list of items")
    if any(len(offsets) != len(items) for _, offsets, items in need.bare):
        raise RemoteProtocolError("progress", f"{name}: not one index for each item that failed")


def _start(geometry: Geometry, ordinal: int) -> int:
    return (ordinal // geometry.tasks_per_epoch + 1) * geometry.samples_per_epoch
