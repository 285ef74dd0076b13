"""A trainer's batches: memory is used again, and never while the program can see it."""

import numpy as np

from penstock.trainer.client.buffers import Buffers

PARTS = [np.full((100, 64, 64, 3), value, np.uint8) for value in (1, 2)]


def test_memory_is_used_again_once_the_batch_is_let_go() -> None:
    """The next batch of the size lies where the last one lay."""
    buffers = Buffers()
    first = buffers.join(PARTS)
    where = first.ctypes.data
    del first
    assert where == buffers.join(PARTS).ctypes.data


def test_a_part_of_a_batch_keeps_all_of_it() -> None:
    """A slice, a strided view or a memoryview of an old batch never shows a newer one's samples."""
    buffers = Buffers()
    batch = buffers.join(PARTS)
    piece, flat, channel = batch[150:160, ::2], batch.reshape(-1)[-10:].data, batch[..., 0]
    del batch
    later = [buffers.join([np.full_like(PARTS[0], 9)] * 2) for _ in range(40)]
    assert (2, 2, 2) == (piece.min(), piece.max(), flat[0])
    assert (1, 2) == (channel.min(), channel.max())
    assert 40 == len({array.ctypes.data for array in later})
    del piece, channel
    buffers.join([np.full_like(PARTS[0], 7)] * 2)
    assert 2 == flat[0] == flat[-1]
    assert all(9 == array.min() == array.max() for array in later)


def test_a_joined_batch_equals_its_parts_and_is_its_owners() -> None:
    """Any type and any number of parts, small ones too; it may be written to."""
    buffers = Buffers()
    rng = np.random.default_rng(1)
    for dtype in (np.uint8, np.float32, np.int64):
        for count in (1, 2, 5):
            for rows in (0, 1, 3000):
                parts = [rng.integers(0, 100, (rows, 33)).astype(dtype) for _ in range(count)]
                joined = buffers.join(parts)
                assert np.array_equal(np.concatenate(parts), joined)
                assert joined.dtype == dtype
                joined[:] = 0


def test_memory_that_is_kept_has_a_limit_whatever_the_sizes_of_fields() -> None:
    """80 MB in all, or eight buffers: small fields between large ones do not raise it."""
    buffers = Buffers()
    hoard = [buffers.empty((size,), np.dtype(np.uint8)) for size in (6_000_000, 300_000) * 40]
    assert len(hoard) > len(buffers._kept)
    assert 70_000_000 < sum(map(len, buffers._kept)) <= 80_000_000


def test_a_program_that_hoards_batches_loses_none() -> None:
    """More batches than buffers are kept: each keeps its own memory."""
    buffers = Buffers()
    hoard = [buffers.join([np.full_like(PARTS[0], value)]) for value in range(60)]
    assert list(range(60)) == [int(array.max()) for array in hoard] == [int(array.min()) for array in hoard]
