"""Splits off validation items of each class, by a hash of each item's file."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

#: Keys the hash that splits off the validation subset; another key would be another split.
_KEY = b"penstock validation split 1"


def held_out(names: Iterable[bytes], labels: npt.NDArray[np.int32], fraction: float) -> npt.NDArray[np.bool_]:
    """Return which items are on the validation side: by a hash of the name, the first of each class.

    Of a class's n names these are `round(fraction × n)`. A name that several items have counts once, in the class of
    the first of them, so that all its items are on one side.
    """
    hashes = np.fromiter(map(_hash, names), np.uint64, len(labels))
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    classes = labels[first]
    order = np.argsort(classes, kind="stable")  # by class, then by hash
    chosen = np.zeros(len(first), np.bool_)
    start = 0
    for count in np.unique(classes, return_counts=True)[1].tolist():
        chosen[order[start : start + round(fraction * count)]] = True
        start += count
    return chosen[group.reshape(-1)]


def _hash(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(_plain(name), digest_size=8, key=_KEY).digest(), "big")


def _plain(name: bytes) -> bytes:
    """Return a path without empty and '.' parts: `a//b` and `./a/b` are the file `a/b`."""
    if b"//" not in name and b"./" not in name:
        return name
    return b"/".join(part for part in name.split(b"/") if part not in {b"", b"."})
