"""What a container holds: the items of one file, as its format's reader finds them."""

from collections import Counter
from dataclasses import dataclass, field

from penstock.protocol.errors import SourceError

#: How compressed files begin, and what undoes it.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4"),
    b"\x78\x01": ("zlib", "pigz -d"),
    b"\x78\x9c": ("zlib", "pigz -d"),
    b"\x78\xda": ("zlib", "pigz -d"),
}
#: Most bytes at the start of a file by which a compressed one is recognised.
MAGIC_BYTES = 8


@dataclass(slots=True)
class ShardIndex:
    """The items of a file, in its order: lists of one length."""

    #: Name of each item; empty where items have none, and are called by their number.
    keys: list[str] = field(default_factory=list)
    #: Where the image of each item lies: offset and length in bytes; in a table, its row and 1.
    offsets: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    #: Class name of each item; empty without labels.
    labels: list[str] = field(default_factory=list)
    #: Weight of each item; empty without weights.
    weights: list[float] = field(default_factory=list)
    #: Class names in label order, where the file gives them.
    classes: list[str] = field(default_factory=list)
    #: What was found and is no part of an item: how many of each suffix.
    passed_over: Counter[str] = field(default_factory=Counter)

    def key(self, number: int) -> str:
        """Return how messages call an item."""
        return self.keys[number] if self.keys else str(number)

    def is_whole(self, *, labelled: bool) -> bool:
        """Return whether the lists have the lengths that they must have."""
        count = len(self.offsets)
        return (
            len(self.keys) in {0, count}
            and len(self.weights) in {0, count}
            and len(self.lengths) == count
            and len(self.labels) == (count if labelled else 0)
        )


def refuse_compressed(start: bytes, name: str, plain: str) -> None:
    """Raise SourceError if a file that begins with `start` is compressed; `plain` says what it must be."""
    found = next((found for magic, found in _COMPRESSED.items() if start.startswith(magic)), None)
    if found is not None:
        raise SourceError(
            f"{name}: compressed with {found[0]}, so that no image can be read at its offset; images are compressed "
            f"already: unpack it to {plain} with {found[1]}"
        )
