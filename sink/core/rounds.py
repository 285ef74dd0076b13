"""How rounds of samples are divided: which samples of a walk over blocks are whose, and how many rounds are here."""

from collections.abc import Iterable, Iterator

from penstock.sink.core.block import Block


def shares(start: int, stop: int, taken: int, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield what of the samples numbered [start, stop) is numbered [low, high) in its round of `taken`."""
    if high - low == taken:  # one trainer: all of it
        yield start, stop
        return
    for base in range(start - start % taken, stop, taken):
        begin, end = max(base + low, start), min(base + high, stop)
        if begin < end:
            yield begin, end


def rounds_here(walked: Iterable[tuple[Block, int]], rounds: int, taken: int, low: int, high: int) -> int:
    """Return of how many rounds of `taken` samples, from the first on, those numbered [low, high) in each are here.

    `walked`: blocks, and how many of their samples belong to earlier rounds. One of several sinks knows of samples that
    survived before it has them.
    """
    passed, total = 0, taken * rounds
    for block, first in walked:
        size = min(block.count - first, total - passed)
        for begin, end in shares(passed, passed + size, taken, low, high):
            missing = block.first_missing(first + begin - passed, first + end - passed)
            if missing is not None:
                return (passed + missing - first) // taken
        passed += size
        if passed == total:
            break
    return rounds
