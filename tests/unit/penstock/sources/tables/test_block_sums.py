"""Checksums of blocks: any damaged byte shows, where it is used and nowhere else."""

import random

import numpy as np
import pytest

from penstock.sources.tables.block_sums import BLOCK_BYTES, Checked, sums_of

SIZE = 2 * BLOCK_BYTES + 1001


@pytest.mark.parametrize("place", [0, 7, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 3, SIZE - 1])
def test_a_damaged_byte_shows_in_its_block_only(place: int) -> None:
    """Whichever bit of it is wrong; the last block is shorter than the others."""
    content = bytearray(random.Random(1).randbytes(SIZE))
    sums = sums_of(content)
    for bit in (1, 128):
        content[place] ^= bit
        checked = Checked(memoryview(content), sums)
        for block in range(3):
            begin = block * BLOCK_BYTES
            assert (block != place // BLOCK_BYTES) == checked.is_whole(begin, begin + 1)
        assert not checked.is_whole(0, SIZE)
        content[place] ^= bit
    assert Checked(memoryview(content), sums).is_whole(0, SIZE)


def test_words_that_changed_places_and_zeroed_pages_show() -> None:
    """As a torn write leaves them; nothing of no bytes is damaged."""
    words = np.random.default_rng(1).integers(1, 2**60, BLOCK_BYTES // 8, dtype=np.uint64)
    sums, swapped, zeroed = sums_of(words.data.cast("B")), words.copy(), words.copy()
    swapped[[5, 900]] = swapped[[900, 5]]
    zeroed[512:1024] = 0
    for damaged in (swapped, zeroed):
        assert not Checked(damaged.data.cast("B"), sums).is_whole(0, 1)
    assert 0 == len(sums_of(b""))
    assert Checked(memoryview(b""), sums_of(b"")).is_whole(0, 0)


def test_a_block_is_read_once() -> None:
    """Later uses cost nothing, so a change behind that goes unseen."""
    content = bytearray(BLOCK_BYTES)
    checked = Checked(memoryview(content), sums_of(content))
    assert checked.is_whole(3, 5)
    content[4] = 1
    assert checked.is_whole(3, 5)
