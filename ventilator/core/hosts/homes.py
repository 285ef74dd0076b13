"""Which host's cache of decoded images has an item: tasks are cut and leased by that.

Part of the leases core: no socket, no clock. Theory of operation. Each item has a home among the hosts that have
workers now: the host of the highest weighted rendezvous hash (Thaler and Ravishankar, 1998; weights by Schindelhain and
Schomaker, 2005). It follows from the item and the hosts' names alone: nothing is remembered, a restarted ventilator
finds the same homes, and a host that joins or leaves changes no home but those that it gets or had. With a full shuffle
a task holds items of all homes, so it is cut: into a part for each home. A home is a preference and no more: a worker
with a free slot gets work, from elsewhere if there is none at home.
"""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from penstock.protocol.order import Int64s

#: Items fall into so many buckets, and all items of a bucket have one home.
_BUCKETS = 4096
#: A part of fewer items is not cut off: handing it over would cost more than it saves.
_LEAST_PART = 2
#: Hosts that items have homes on; further ones, those with the fewest workers, take what is left.
_MOST_HOSTS = 128
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Homes:
    """The home of every item, given the hosts that there are."""

    def __init__(self) -> None:
        """Start without hosts."""
        self._weights: dict[str, int] = {}
        #: The hosts by number, and each bucket's home.
        self._hosts: tuple[str, ...] = ()
        self._home_of: Int64s = np.zeros(_BUCKETS, np.int64)

    def __bool__(self) -> bool:
        """Return whether there is a choice."""
        return len(self._hosts) > 1

    def update(self, workers: Mapping[str, int]) -> bool:
        """Take how many workers each host has now; return whether any home may be another one.

        A host that stays keeps the most workers that it had: one that is started again moves nothing.
        """
        chosen = sorted(sorted(workers), key=lambda host: -workers[host])[:_MOST_HOSTS]
        weights = {host: max(workers[host], self._weights.get(host, 0)) for host in sorted(chosen)}
        if weights == self._weights:
            return False
        self._weights, self._hosts = weights, tuple(weights)
        if self:
            scores = np.stack([_scores(host) / weight for host, weight in weights.items()])
            self._home_of = scores.argmin(axis=0)
        return True

    def home(self, items: Int64s) -> str:
        """Return the home of most of these items; empty without a choice."""
        if not self:
            return ""
        return self._hosts[int(np.bincount(self._numbers(items)).argmax())]

    def cut(self, items: Int64s) -> list[tuple[int, ...]]:
        """Return the places of a task's items, in a group for each home; small groups are one."""
        if not self or len(items) < 2 * _LEAST_PART:
            return []
        numbers = self._numbers(items)
        counts = np.bincount(numbers)
        large = np.flatnonzero(counts >= _LEAST_PART)
        groups = [np.flatnonzero(numbers == number) for number in large]
        rest = np.flatnonzero(counts[numbers] < _LEAST_PART)
        if len(rest):
            groups.append(rest)
        return [tuple(group.tolist()) for group in groups] if len(groups) > 1 else []

    def _numbers(self, items: Int64s) -> Int64s:
        return self._home_of[_buckets(items)]


def _buckets(items: Int64s) -> Int64s:
    """Return the bucket of each item: neighbours fall into different ones."""
    return ((items.astype(np.uint64) * _MIX) >> np.uint64(64 - 12)).astype(np.int64)


@lru_cache(maxsize=2 * _MOST_HOSTS)
def _scores(host: str) -> npt.NDArray[np.float64]:
    """Return a host's lot for each bucket, the same for ever: exponentially distributed, the least wins."""
    words = np.frombuffer(blake2b(host.encode(errors="surrogatepass")).digest()[:16], np.uint64)
    drawn = np.random.Generator(np.random.Philox(key=words)).random(_BUCKETS)
    return -np.log1p(-drawn)
