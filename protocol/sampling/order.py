"""Which item stands at which slot of an epoch that groups share by weight.

Like `protocol/order.py`, which shuffles the slots: pure functions of seed and epoch, so that any position can be
reached at once, at any number of workers. Nothing is drawn item by item: the group of weight w among the sum W has
`items × w / W` slots, rounded up or down by one draw for the epoch. A group's slots take its items in the order of a
permutation, then in that of a second one, and so on, each of which is a *round*.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from penstock.protocol.order import Geometry, Int64s, permute
from penstock.protocol.sampling.groups import Groups

#: Slots that are computed at once: a permutation of each of a thousand classes is made for many of them.
_BLOCK = 65_536
#: Purposes of a permutation, after those of `protocol/order.py`: a round of a group, and how an epoch's shares round.
_ROUND, _SHARES = 3, 4
#: Range in which the rounding of an epoch is drawn.
_FINE = 2**53

#: Where the slots of each group begin in an epoch, and where the last ones end.
_Bounds = npt.NDArray[np.int64]


class GroupedOrder:
    """The order of one stream; its answers are kept for a while, so that a task costs little."""

    def __init__(self, geometry: Geometry, groups: Groups, shard: tuple[int, int]) -> None:
        """Order the items of a shard, (index, count), of all groups."""
        self._geometry, self._groups, self._shard = geometry, groups, shard
        self._members = groups.members(shard)
        self._starts = list(accumulate(groups.sizes, initial=0))
        self._bounds: Callable[[int], _Bounds] = lru_cache(maxsize=8)(self._find_bounds)
        self._block: Callable[[int, int], tuple[Int64s, Int64s]] = lru_cache(maxsize=4)(self._find_block)

    def at(self, epoch: int, slots: range) -> tuple[Int64s, Int64s]:
        """Return the item at each slot, as an index in the whole source, and how often it came before in the epoch."""
        parts = []
        for block in range(slots.start // _BLOCK, (slots.stop - 1) // _BLOCK + 1):
            low, high = max(slots.start, block * _BLOCK), min(slots.stop, (block + 1) * _BLOCK)
            inside = slice(low - block * _BLOCK, high - block * _BLOCK)
            items, rounds = self._block(epoch, block)
            parts.append((items[inside], rounds[inside]))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([items for items, _ in parts]), np.concatenate([rounds for _, rounds in parts])

    def shares(self, epoch: int) -> list[int]:
        """Return how many slots of an epoch each group has."""
        counts: list[int] = np.diff(self._bounds(epoch)).tolist()
        return counts

    def _find_bounds(self, epoch: int) -> _Bounds:
        weights, items = self._groups.weights(epoch), self._geometry.items
        total = sum(weights)
        drawn = int(permute(np.zeros(1, np.int64), _FINE, self._geometry.seed, _SHARES, epoch)[0])
        rest = drawn * total // _FINE
        bounds = [(items * below + rest) // total for below in accumulate(weights, initial=0)]
        return np.array(bounds, np.int64)

    def _find_block(self, epoch: int, block: int) -> tuple[Int64s, Int64s]:
        geometry = self._geometry
        places = geometry.order(epoch, range(block * _BLOCK, min((block + 1) * _BLOCK, geometry.items)))
        bounds = self._bounds(epoch)
        of_group = np.searchsorted(bounds, places, side="right") - 1
        items, rounds = np.empty_like(places), np.empty_like(places)
        order = np.argsort(of_group, kind="stable")
        groups, firsts = np.unique(of_group[order], return_index=True)
        for group, chosen in zip(groups.tolist(), np.split(order, firsts[1:]), strict=True):
            rounds[chosen], within = np.divmod(places[chosen] - bounds[group], self._members[group])
            items[chosen] = self._starts[group] + self._within(epoch, group, rounds[chosen], within)
        for array in (items, rounds):
            array.setflags(write=False)
        return items, rounds

    def _within(self, epoch: int, group: int, rounds: Int64s, places: Int64s) -> Int64s:
        """Return which items of a group, counted in all shards, stand at places of rounds."""
        first, stride = self._shard
        found = places.copy()
        for each in np.unique(rounds).tolist() if self._geometry.shuffle else ():
            of_round = rounds == each
            key = (self._geometry.seed, _ROUND, epoch, group, each)
            found[of_round] = permute(places[of_round], self._members[group], *key)
        return found * stride + first
