"""Checksums of blocks of a mapped file, so that damage is noticed where the file is used, without reading all of it.

A block's sum is that of its 64-bit numbers, each times an odd number of its own: damage to one of them always shows,
other damage almost always. Adding them up takes a tenth of a millisecond a block.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

#: Bytes of a block.
BLOCK_BYTES: Final = 262_144
_WORDS = BLOCK_BYTES // 8
_Sums = npt.NDArray[np.uint64]
_Numbers = npt.NDArray[np.int64]
#: The odd numbers; the first step of splitmix64's, so that no two are alike.
_FACTORS: _Sums = np.arange(1, 2 * _WORDS, 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)


def sums_of(data: memoryview | bytes | bytearray) -> _Sums:
    """Return the sum of each block; the last one may be shorter."""
    view = np.frombuffer(data, np.uint8)
    whole = view.size // BLOCK_BYTES
    found = view[: whole * BLOCK_BYTES].view("<u8").reshape(whole, _WORDS) @ _FACTORS
    if view.size % BLOCK_BYTES:
        rest = np.zeros(BLOCK_BYTES, np.uint8)
        rest[: view.size % BLOCK_BYTES] = view[whole * BLOCK_BYTES :]
        found = np.append(found, rest.view("<u8") @ _FACTORS)
    return found.astype("<u8", copy=False)


class RunningSums:
    """Adds up the blocks of data that comes in parts of any size."""

    def __init__(self) -> None:
        self._whole: list[_Sums] = []
        #: What came behind the last whole block.
        self._rest = b""

    def add(self, data: memoryview) -> None:
        """Take the next part."""
        if self._rest:
            missing = BLOCK_BYTES - len(self._rest)
            self._rest += data[:missing]
            data = data[missing:]
            if len(self._rest) == BLOCK_BYTES:
                self._whole.append(sums_of(self._rest))
                self._rest = b""
        whole = len(data) // BLOCK_BYTES * BLOCK_BYTES
        if whole:
            self._whole.append(sums_of(data[:whole]))
        self._rest += data[whole:]

    def sums(self) -> _Sums:
        """Return the sum of each block; the last one may be shorter."""
        return np.concatenate([*self._whole, sums_of(self._rest)])


class Checked:
    """A part of a mapped file whose blocks are compared with their sums when they are used first."""

    def __init__(self, data: memoryview, sums: _Sums, begin: int = 0) -> None:
        """Take the part, the sums of its blocks, and where it begins in the file."""
        self._data, self._sums, self.begin = data, sums, begin
        #: Which blocks were compared.
        self._seen = np.zeros(len(sums), np.bool_)

    def is_whole(self, begin: int, end: int) -> bool:
        """Return whether the blocks of the bytes from `begin` to `end` are as they were written."""
        for block in range(max(0, begin) // BLOCK_BYTES, min(-(-end // BLOCK_BYTES), len(self._sums))):
            if not self._seen[block]:
                first = block * BLOCK_BYTES
                if sums_of(self._data[first : first + BLOCK_BYTES])[0] != self._sums[block]:
                    return False
                self._seen[block] = True
        return True

    def are_whole(self, begins: _Numbers, ends: _Numbers) -> bool:
        """Return the same of many parts, each shorter than a block, from one of `begins` to its one of `ends`."""
        blocks = np.concatenate((begins, ends - 1)) // BLOCK_BYTES
        if self._seen[blocks].all():  # nearly always
            return True
        return all(map(self.is_whole, begins.tolist(), ends.tolist()))
