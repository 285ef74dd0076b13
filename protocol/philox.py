"""The first uniform numbers of many samples' generators at once: a vectorised `order.sample_generator`.

`uniforms` asks one generator of each sample, `uniforms_of` several, such as those of a stream's steps, in one pass.

This module computes Philox4x64-10 (Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3",
SC11) over arrays. numpy builds a generator in about 8 µs, as much as a small image's whole augmentation takes; here
a sample's numbers cost about half a microsecond.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from penstock.protocol.order import DRAW_SAMPLE, Int64s

_Uint64s = npt.NDArray[np.uint64]
Float64s = npt.NDArray[np.float64]

_ROUNDS = 10
#: The multipliers of counter words 0 and 2, and the increments of the two key words in each round (Random123).
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_WORD = 0xFFFFFFFFFFFFFFFF
_HALF = 0xFFFFFFFF
#: Words that one evaluation of the cipher yields.
_BLOCK = 4
#: Counters evaluated at once: two rows of 8 bytes each, in about ten arrays, still fit a core's level 2 cache.
_CHUNK = 4096


def uniforms(
    seed: int, epoch: int, items: Int64s, patches: int, count: int, purpose: int = DRAW_SAMPLE
) -> npt.NDArray[np.float64]:
    """Return float64 (items, patches, count) in [0, 1): each sample's first `count` calls of `random()`.

    Bit for bit `sample_generator(seed, epoch, item, patch, purpose).random(count)` for every item of `items` and patch
    below `patches`. numpy counts up before it evaluates, so the first block's counter word 0 is 1.
    """
    if not count or not len(items) or not patches:
        return np.empty((len(items), patches, count))
    blocks = -(-count // _BLOCK)
    size = len(items) * patches * blocks
    counters = np.empty((3, len(items), patches, blocks), np.uint64)
    counters[0] = np.arange(1, blocks + 1, dtype=np.uint64)
    counters[1] = np.arange(patches, dtype=np.uint64)[:, np.newaxis]
    counters[2] = items.astype(np.uint64)[:, np.newaxis, np.newaxis]
    flat, keys = counters.reshape(3, size), _keys(seed, purpose)
    words = np.empty((size, _BLOCK), np.uint64)
    for start in range(0, size, _CHUNK):
        _philox(flat[:, start : start + _CHUNK], epoch, keys, words[start : start + _CHUNK])
    words >>= np.uint64(11)  # the upper 53 bits, as numpy's `random()`
    return np.multiply(words, 2.0**-53).reshape(len(items), patches, blocks * _BLOCK)[..., :count]


def uniforms_of(
    seed: int, epoch: int, items: Int64s, patches: int, generators: Sequence[tuple[int, int]]
) -> list[Float64s]:
    """Return, for each (purpose, count) of `generators`, what `uniforms` does; in one pass over all of them.

    A pass takes some hundred calls of numpy, whatever its size: ten steps take little longer than one.
    """
    samples = len(items) * patches
    blocks = [-(-count // _BLOCK) for _, count in generators]
    row = sum(blocks)
    if not row or not samples:
        return [np.empty((len(items), patches, count)) for _, count in generators]
    counters = np.empty((3, len(items), patches, row), np.uint64)
    counters[0] = np.concatenate([np.arange(1, each + 1, dtype=np.uint64) for each in blocks])
    counters[1] = np.arange(patches, dtype=np.uint64)[:, np.newaxis]
    counters[2] = items.astype(np.uint64)[:, np.newaxis, np.newaxis]
    flat, words = counters.reshape(3, samples * row), np.empty((samples * row, _BLOCK), np.uint64)
    purposes = tuple(purpose for (purpose, _), each in zip(generators, blocks, strict=True) for _ in range(each))
    step = max(1, _CHUNK // row)  # samples
    for start in range(0, samples, step):
        part = slice(start * row, (start + step) * row)
        _philox(flat[:, part], epoch, _keys_of(seed, purposes, min(step, samples - start)), words[part])
    words >>= np.uint64(11)  # the upper 53 bits, as numpy's `random()`
    numbers = np.multiply(words, 2.0**-53).reshape(len(items), patches, row * _BLOCK)
    ends = np.cumsum([0, *blocks]) * _BLOCK
    return [numbers[..., end : end + count] for end, (_, count) in zip(ends.tolist(), generators, strict=False)]


def _philox(counters: _Uint64s, epoch: int, keys: _Uint64s, out: _Uint64s) -> None:
    """Write the four words of every counter (block, patch, item; one epoch) into a row of `out`."""
    size = counters.shape[1]
    low_half, high_half, multiplier, thirty_two, mask = _constants(size)
    even = np.stack([counters[0], counters[2]])  # counter words 0 and 2, which are multiplied
    odd = np.empty_like(even)  # counter words 1 and 3
    odd[0], odd[1] = counters[1], epoch
    low, high, cross, carry, product = (np.empty_like(even) for _ in range(5))
    for key in keys:
        # The upper 64 bits of a 128-bit product, from four products of 32-bit halves.
        np.bitwise_and(even, mask, low)
        np.right_shift(even, thirty_two, high)
        np.multiply(low, low_half, carry)
        carry >>= thirty_two
        np.multiply(high, low_half, cross)
        cross += carry
        np.multiply(low, high_half, carry)
        np.bitwise_and(cross, mask, low)
        carry += low
        high *= high_half
        cross >>= thirty_two
        high += cross
        carry >>= thirty_two
        high += carry
        np.multiply(even, multiplier, product)
        np.bitwise_xor(high[::-1], odd, even)
        even ^= key
        np.copyto(odd, product[::-1])
    out[:, 0], out[:, 1], out[:, 2], out[:, 3] = even[0], odd[0], even[1], odd[1]


@lru_cache(maxsize=8)
def _constants(size: int) -> tuple[_Uint64s, ...]:
    """Return arrays (2, size): numpy multiplies two equal shapes twice as fast as it broadcasts."""
    multiplier = np.repeat(np.array([_MULTIPLIERS], np.uint64).T, size, axis=1)
    half = np.full((2, size), _HALF, np.uint64)
    shift = np.full((2, size), 32, np.uint64)
    return multiplier & half, multiplier >> shift, multiplier, shift, half


@lru_cache(maxsize=64)
def _keys(seed: int, purpose: int) -> _Uint64s:
    """Return the key of every round, (rounds, 2, 1)."""
    keys = [
        [(word + turn * step) & _WORD for word, step in zip((seed, purpose), _WEYL, strict=True)]
        for turn in range(_ROUNDS)
    ]
    return np.array(keys, np.uint64)[..., np.newaxis]


@lru_cache(maxsize=8)
def _keys_of(seed: int, purposes: tuple[int, ...], samples: int) -> _Uint64s:
    """Return the key of every round for a row of purposes, repeated for each sample: (rounds, 2, row × samples)."""
    rows = np.concatenate([_keys(seed, purpose) for purpose in purposes], axis=2)
    return np.tile(rows, (1, 1, samples))
