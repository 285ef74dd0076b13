"""The index of a group: says in which segment, and where there, an entry probably lies.

A file of buckets, which all processes of a host change without a lock. A place is a hint and no more: the entry itself
names its key and bears a checksum, so a hint that was torn, overwritten by another process's or left behind by a
removed segment costs one image that is decoded again. Read and written by calls, never mapped: a truncated file or a
full disk is an error of a call then, and does not end the process.
"""

import os
import struct
from dataclasses import dataclass

#: Tag of the key, segment, and offset and length in units.
_SLOT = struct.Struct("<IIII")
_SLOTS = 8
#: Of a key: its tag, and the number that chooses its bucket.
_PARTS = struct.Struct("<II")
_TAG_BYTES = 4
_BUCKET = struct.Struct("<" + 4 * _SLOTS * "I")
_BUCKET_BYTES = _BUCKET.size
#: Offsets and lengths are multiples of this many bytes.
UNIT_BYTES = 64
#: Items that the smallest index is made for, and how full its buckets are then.
_LEAST_ITEMS, _FILL = 1024, 4
_PREFIX = "index-"
_BUCKET_BITS = 30


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry probably lies."""

    segment: int
    offset: int
    length: int


class Hints:
    """One process's access to a group's index; for use by one thread at a time."""

    def __init__(self, group: str, items: int) -> None:
        """Open the group's index, or make one that is large enough for `items`. Raises OSError.

        Where there is a smaller one, it is still read: the source has grown.
        """
        bits = (max(items, _LEAST_ITEMS) // _FILL).bit_length()
        found = {_bits_of(name) for name in os.listdir(group) if name.startswith(_PREFIX)}  # noqa: PTH208 - as text
        #: Index files, the largest first: descriptor and number of buckets.
        self._tables: list[tuple[int, int]] = []
        wanted = {bits} if max(found, default=0) < bits else set[int]()
        for each in sorted(found | wanted, reverse=True):
            if each:
                descriptor = os.open(f"{group}/{_PREFIX}{each}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                self._tables.append((descriptor, 1 << each))

    @property
    def exists(self) -> bool:
        """Whether the index was not removed since it was opened. Raises OSError."""
        return os.fstat(self._tables[0][0]).st_nlink > 0

    def close(self) -> None:
        """Close the files."""
        for descriptor, _ in self._tables:
            os.close(descriptor)
        self._tables.clear()

    def find(self, key: bytes) -> list[Place]:
        """Return where the entry of a key may lie: mostly one place, or none. Raises OSError."""
        tag, number = _PARTS.unpack_from(key)
        places = []
        for descriptor, buckets in self._tables:
            content = os.pread(descriptor, _BUCKET_BYTES, number % buckets * _BUCKET_BYTES)
            if key[:_TAG_BYTES] in content:  # mostly it is not, or it is the tag
                slots = _slots(content)
                for at in range(0, len(slots), 4):
                    found, segment, offset, length = slots[at : at + 4]
                    if found == tag and length:
                        places.append(Place(segment, offset * UNIT_BYTES, length * UNIT_BYTES))
        return places

    def set(self, key: bytes, place: Place) -> None:
        """Note where the entry of a key lies, in place of an older one; in a full bucket, of any. Raises OSError."""
        tag, number = _PARTS.unpack_from(key)
        descriptor, buckets = self._tables[0]
        start = number % buckets * _BUCKET_BYTES
        slots = _slots(os.pread(descriptor, _BUCKET_BYTES, start))
        tags, lengths = slots[::4], slots[3::4]
        if tag in tags and lengths[tags.index(tag)]:
            choice = tags.index(tag)
        else:
            choice = lengths.index(0) if 0 in lengths else tag % _SLOTS
        content = _SLOT.pack(tag, place.segment, place.offset // UNIT_BYTES, place.length // UNIT_BYTES)
        os.pwrite(descriptor, content, start + choice * _SLOT.size)


def _slots(content: bytes) -> tuple[int, ...]:
    """Return a bucket's slots, one after the other; what was never written is 0."""
    return _BUCKET.unpack(content if len(content) == _BUCKET_BYTES else content.ljust(_BUCKET_BYTES, b"\0"))


def _bits_of(name: str) -> int:
    """Return the logarithm of the number of buckets of an index file; 0 for another file."""
    digits = name.removeprefix(_PREFIX)
    bits = int(digits) if digits.isdecimal() and len(digits) <= 2 else 0  # noqa: PLR2004 - digits
    return bits if bits <= _BUCKET_BITS else 0
