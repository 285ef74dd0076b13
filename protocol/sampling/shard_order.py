"""The order of `shuffle = "shards"`: shards permuted, and items mixed within windows of some shards.

A worker then reads from a few shards at a time, which storage bears better than reads from anywhere. It is a weaker
shuffle: an item never leaves the window of its shard. Like `protocol/order.py`, a pure function of seed and epoch.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate

import numpy as np
from pydantic import Field

from penstock.protocol.order import Int64s, permute
from penstock.protocol.spec.model import Model

#: Purposes of a permutation, after those of `protocol/sampling/order.py`: the shards, and the items of a window.
_SHARDS, _WINDOW_ITEMS = 5, 6
#: Slots that are computed at once.
_BLOCK = 16_384


class Shards(Model):
    """How many items each shard of a source has, in the source's order."""

    sizes: tuple[int, ...] = Field(min_length=1)
    """Items of each shard, 1 or more."""
    window: int = Field(ge=1)
    """Shards whose items are mixed."""

    def members(self, part: tuple[int, int]) -> list[int]:
        """Return how many items of each shard belong to job (index, count): every `count`-th of the shard."""
        first, stride = part
        return [len(range(first, size, stride)) for size in self.sizes]


class ShardOrder:
    """The order of one stream; its answers are kept for a while, so that a task costs little."""

    def __init__(self, seed: int, shards: Shards, part: tuple[int, int]) -> None:
        """Order the items of a job, (index, count)."""
        self._seed, self._window, self._part = seed, shards.window, part
        self._members = np.array(shards.members(part), np.int64)
        self._starts = np.array(list(accumulate(shards.sizes, initial=0)), np.int64)
        self._items = int(self._members.sum())
        self._shards: Callable[[int], tuple[Int64s, Int64s]] = lru_cache(maxsize=4)(self._find_shards)
        self._block: Callable[[int, int], Int64s] = lru_cache(maxsize=16)(self._find_block)

    def at(self, epoch: int, slots: range) -> Int64s:
        """Return the item at each slot of an epoch, as an index in the whole source."""
        parts = []
        for block in range(slots.start // _BLOCK, (slots.stop - 1) // _BLOCK + 1):
            low, high = max(slots.start, block * _BLOCK), min(slots.stop, (block + 1) * _BLOCK)
            parts.append(self._block(epoch, block)[low - block * _BLOCK : high - block * _BLOCK])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _find_shards(self, epoch: int) -> tuple[Int64s, Int64s]:
        """Return the shards in an epoch's order, and where each begins among its items (and where the last ends)."""
        count = len(self._members)
        order = permute(np.arange(count, dtype=np.int64), count, self._seed, _SHARDS, epoch)
        return order, np.concatenate([[0], np.cumsum(self._members[order])])

    def _find_block(self, epoch: int, block: int) -> Int64s:
        order, begins = self._shards(epoch)
        slots = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, self._items), dtype=np.int64)
        edges = np.append(begins[: -1 : self._window], self._items)
        windows = np.searchsorted(edges, slots, side="right") - 1
        places = np.empty_like(slots)
        for window in np.unique(windows).tolist():
            inside, size = windows == window, int(edges[window + 1] - edges[window])
            moved = permute(slots[inside] - edges[window], size, self._seed, _WINDOW_ITEMS, epoch, window)
            places[inside] = edges[window] + moved
        which = np.searchsorted(begins, places, side="right") - 1
        first, stride = self._part
        items: Int64s = self._starts[order[which]] + (places - begins[which]) * stride + first
        items.setflags(write=False)
        return items
