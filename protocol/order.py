"""The order of samples: epochs, positions, tasks, mix windows and each sample's random generator.

Pure functions map (seed, epoch, place) to items and back. All of them need O(1) memory, whatever the number of items.

Shuffling is a keyed permutation of [0, n): a balanced Feistel network over the smallest even number of bits that holds
n, whose values outside [0, n) walk the network's cycle until they fall inside (Black and Rogaway, "Ciphers with
Arbitrary Finite Domains", CT-RSA 2002). Its round function is the finaliser of SplitMix64 (Steele, Lea and Flood,
OOPSLA 2014). Up to n = 4096 the places are sorted by SplitMix64's outputs instead: faster there, and a
network that narrow knows few permutations. It is a shuffle, not a cipher.

Samples draw from Philox4x64-10 (Salmon et al., SC11), whose counter is laid out so that no two samples can meet:
word 0 counts draws, word 1 is the patch, word 2 the item, word 3 the epoch; the key is the seed and what is drawn.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
_Uint64s = npt.NDArray[np.uint64]

#: Rounds of the Feistel network. Four already make a pseudorandom permutation of a good round function (Luby-Rackoff);
#: six leave a margin for small domains, where tests see no bias.
_ROUNDS = 6
#: Domains up to this size are sorted by a hash: exactly as random as the hash, and a table of at most 32 KB.
_SORTED_SIZE = 4096
#: Items of the shuffled order computed at once, so that a task of a few items does not pay for numpy's call overhead.
_BLOCK = 4096

_ITEMS, _WINDOW = 1, 2  # purposes of a permutation: they keep the keys of the two uses apart


_GOLDEN, _MIX_A, _MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # SplitMix64's constants


def _mix64(value: int) -> int:
    value = (value + _GOLDEN) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * _MIX_A) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 27)) * _MIX_B) & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)


@lru_cache(maxsize=1024)
def _round_keys(*words: int) -> tuple[int, ...]:
    state = 0
    for word in words:
        state = _mix64(state ^ _mix64(word & 0xFFFFFFFFFFFFFFFF))
    keys = []
    for _ in range(_ROUNDS):
        state = _mix64(state)
        keys.append(state)
    return tuple(keys)


def _feistel(values: _Uint64s, half_bits: int, keys: tuple[int, ...]) -> _Uint64s:
    half, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> half, values & mask
    for key in keys:
        mixed = (right ^ np.uint64(key)) * np.uint64(_MIX_A)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(_MIX_B)
        left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(32))) & mask)
    result: _Uint64s = (left << half) | right
    return result


def permute(index: Int64s, size: int, *key: int) -> Int64s:
    """Return where a keyed permutation of [0, `size`) sends each of `index` (int64, any shape, each in [0, size)).

    `key` words (the first is usually the seed) choose the permutation. Time is O(len(index)), memory too.
    """
    if size <= _SORTED_SIZE:
        result: Int64s = _sorted_table(size, *key)[index]
        return result
    half_bits = ((size - 1).bit_length() + 1) // 2
    keys = _round_keys(*key)
    values = _feistel(index.astype(np.uint64), half_bits, keys)
    outside = values >= size
    while outside.any():
        values[outside] = _feistel(values[outside], half_bits, keys)
        outside = values >= size
    return values.astype(np.int64)


@lru_cache(maxsize=64)
def _sorted_table(size: int, *key: int) -> Int64s:
    state = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(_round_keys(*key)[0])
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX_A)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX_B)
    table = np.argsort(state ^ (state >> np.uint64(31)), kind="stable").astype(np.int64)
    table.setflags(write=False)
    return table


#: Purposes for which a sample's numbers are drawn. Each has a key word of its own, so no use shifts another's draws.
DRAW_SAMPLE, DRAW_PLACES, DRAW_CUSTOM, DRAW_STORED = 0, 1, 2, 3


def sample_generator(seed: int, epoch: int, item: int, patch: int, purpose: int = DRAW_SAMPLE) -> np.random.Generator:
    """Return the generator of one sample: the same for any worker, at any time.

    All arguments are non-negative integers below 2**64; `item` is the item's index in its whole source, `purpose` one
    of `DRAW_SAMPLE` (the sample's own changes), `DRAW_PLACES` (where an item's patches lie, drawn together, patch 0),
    `DRAW_CUSTOM` (custom transforms) and `DRAW_STORED` (changes of a file's rows).
    """
    counter = np.array([0, patch, item, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=np.array([seed, purpose], dtype=np.uint64), counter=counter))


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of a stream: pure arithmetic between positions, tasks and items.

    An *ordinal* numbers the tasks of the endless stream: `epoch * tasks_per_epoch + index`. A *slot* is an item's
    place in an epoch's shuffled order. A *block* is the smallest run of slots that both tasks and mix windows divide:
    the samples of a block stand at consecutive positions, so it is the unit in which order is restored.
    """

    seed: int
    #: Items in an epoch (after sharding).
    items: int
    #: Samples an item yields.
    patches: int
    #: Items whose samples are permuted together.
    mix: int
    #: Items in a task; tasks and mix windows nest: one divides the other.
    task_items: int
    shuffle: bool
    #: Samples in an epoch, failures included.
    samples_per_epoch: int = field(init=False, repr=False, compare=False)
    #: Tasks in an epoch; the last may be shorter.
    tasks_per_epoch: int = field(init=False, repr=False, compare=False)
    #: Items in a block.
    block_items: int = field(init=False, repr=False, compare=False)
    #: Positions in a full block.
    block_samples: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse shapes for which the arithmetic below does not hold."""
        set_once = object.__setattr__
        set_once(self, "samples_per_epoch", self.items * self.patches)
        set_once(self, "tasks_per_epoch", -(-self.items // max(self.task_items, 1)))
        set_once(self, "block_items", max(self.mix, self.task_items))
        set_once(self, "block_samples", self.block_items * self.patches)
        if min(self.items, self.patches, self.mix, self.task_items) < 1:
            raise ValueError(f"a stream's sizes must be 1 or more: {self!r}")
        if self.block_items % self.mix or self.block_items % self.task_items:
            raise ValueError(f"mix={self.mix} and task_items={self.task_items} do not nest; one must divide the other")

    def slots(self, ordinal: int) -> range:
        """Return the slots of one task."""
        start = ordinal % self.tasks_per_epoch * self.task_items
        return range(start, min(start + self.task_items, self.items))

    def block_of(self, position: int) -> tuple[int, int]:
        """Return the positions [start, stop) of the block that holds `position`."""
        epoch, place = divmod(position, self.samples_per_epoch)
        start = place - place % self.block_samples
        base = epoch * self.samples_per_epoch
        return base + start, base + min(start + self.block_samples, self.samples_per_epoch)

    def block_tasks(self, start: int) -> range:
        """Return the ordinals of the tasks of the block that starts at position `start`."""
        epoch, place = divmod(start, self.samples_per_epoch)
        first_slot = place // self.patches
        last_slot = min(first_slot + self.block_items, self.items) - 1
        base = epoch * self.tasks_per_epoch
        return range(base + first_slot // self.task_items, base + last_slot // self.task_items + 1)

    def block_start(self, ordinal: int) -> int:
        """Return the position at which the block of task `ordinal` starts."""
        epoch, index = divmod(ordinal, self.tasks_per_epoch)
        slot = index * self.task_items
        return epoch * self.samples_per_epoch + (slot - slot % self.block_items) * self.patches

    def span(self, ordinal: int) -> tuple[int, int] | None:
        """Return the positions [start, stop) of a task's samples; None if those of its mix window lie among them."""
        if self.mix > self.task_items:
            return None
        epoch, index = divmod(ordinal, self.tasks_per_epoch)
        start = epoch * self.samples_per_epoch + index * self.block_samples
        return start, min(start + self.block_samples, (epoch + 1) * self.samples_per_epoch)

    def tasks_between(self, low: int, high: int) -> tuple[int, int]:
        """Return the ordinals [first, last) of the tasks whose blocks meet the positions [low, high)."""
        if low >= high:
            return (0, 0)
        first = self.block_tasks(self.block_of(low)[0]).start
        return first, self.block_tasks(self.block_of(high - 1)[0]).stop

    def order(self, epoch: int, slots: range) -> Int64s:
        """Return the items (int64) that stand at `slots` of the shuffled order of `epoch`."""
        if not self.shuffle:
            return np.arange(slots.start, slots.stop, dtype=np.int64)
        parts = []
        for block in range(slots.start // _BLOCK, (slots.stop - 1) // _BLOCK + 1):
            low, high = max(slots.start, block * _BLOCK), min(slots.stop, (block + 1) * _BLOCK)
            parts.append(_order_block(self, epoch, block)[low - block * _BLOCK : high - block * _BLOCK])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def positions(self, ordinal: int) -> Int64s:
        """Return the positions, shape (items of the task, patches), at which a task's samples stand."""
        epoch = ordinal // self.tasks_per_epoch
        slots = self.slots(ordinal)
        first, last = slots.start * self.patches, slots.stop * self.patches
        places = np.arange(first, last, dtype=np.int64)
        span = self.mix * self.patches
        for start in range(first // span * span, last, span) if self.mix > 1 else ():
            low, high = max(start, first), min(start + span, last)
            size = min(span, self.samples_per_epoch - start)
            inside = places[low - first : high - first]
            inside[:] = start + permute(inside - start, size, self.seed, _WINDOW, epoch, start // span)
        return (places + epoch * self.samples_per_epoch).reshape(len(slots), self.patches)


@lru_cache(maxsize=64)
def _order_block(geometry: Geometry, epoch: int, block: int) -> Int64s:
    slots = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, geometry.items), dtype=np.int64)
    items = permute(slots, geometry.items, geometry.seed, _ITEMS, epoch)
    items.setflags(write=False)
    return items
