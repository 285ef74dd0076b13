"""Entries of the cache of decoded images whose pixels follow from their number, and a process that writes them."""

import hashlib
import sys
from itertools import count

import numpy as np

from penstock.worker.imaging.cache.entry import HEADER_BYTES, Entry, Pixels, Source
from penstock.worker.imaging.cache.hints import UNIT_BYTES
from penstock.worker.imaging.cache.store import Store

GROUP = "group"
#: Versions of an entry that `main` writes, in turn.
VERSIONS = 3


def key_of(number: int) -> bytes:
    """Return the key of entry number `number`."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=20).digest()


def source_of(number: int, version: int = 0) -> Source:
    """Return its source."""
    return Source(number.to_bytes(16, "big") + version.to_bytes(16, "big"), bytes([number % 256, version] * 8))


def pixels_of(number: int, version: int = 0, side: int = 64) -> Pixels:
    """Return its pixels, three channels."""
    rng = np.random.default_rng([number, version])
    return rng.integers(0, 256, (side, side, 3), np.uint8)


class User:
    """Stands for a stream that uses a group."""

    def __init__(self, store: Store, group: str = GROUP) -> None:
        """Use it for as long as this object lives."""
        self.group, self.items = group, 1000
        store.add_user(self)


def put(store: Store, number: int, version: int = 0, group: str = GROUP) -> bool:
    """Put an entry; return whether it was kept."""
    entry = Entry(pixels_of(number, version), 0.25)
    return store.put(group, key_of(number), source_of(number, version), entry)


def get(store: Store, number: int, version: int = 0, group: str = GROUP) -> Pixels | None:
    """Return an entry's pixels, if the store has it."""
    entry = entry_of(store, key_of(number), source_of(number, version), group)
    return None if entry is None else entry.pixels


def entry_of(store: Store, key: bytes, source: Source, group: str = GROUP) -> Entry | None:
    """Return the entry of a key if it is whole and of this source."""
    found = store.look(group, key, source)
    return found[1] if isinstance(found, tuple) else None


#: Bytes that one of the entries takes.
SIZE = -(-(HEADER_BYTES + pixels_of(0).nbytes) // UNIT_BYTES) * UNIT_BYTES


def main(folder: str, numbers: int, limit_bytes: int) -> None:
    """Put entries in a circle, of another version each time round, until killed; print a line when one is there."""
    store = Store(folder, limit_bytes)
    for turn in count():
        number, version = turn % numbers, turn // numbers % VERSIONS
        kept = put(store, number, version)
        if turn == 0:
            sys.stdout.write(f"{kept}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
