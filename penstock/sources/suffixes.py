"""Recognises image files by their suffix, since no file is opened while a source is listed."""

from collections.abc import Mapping
from functools import cache

#: What counts images that lie in no class folder.
UNCLASSIFIED = "images in no class folder"
#: The most frequent suffixes of image files, which every Pillow decodes: of a folder that has no others, the listing
#: does without importing Pillow.
_USUAL = frozenset({b"jpg", b"jpeg", b"png"})


@cache
def suffixes() -> frozenset[bytes]:
    """Return the suffixes of image files: those of every format that the installed Pillow decodes for workers."""
    from penstock.sources.image_formats import SUFFIXES  # noqa: PLC0415 - brings Pillow, for listings of folders only

    return SUFFIXES


def is_image(name: bytes) -> bool:
    """Return whether a file's name ends like that of an image, in any case."""
    _, dot, suffix = name.rpartition(b".")
    return bool(dot) and ((lower := suffix.lower()) in _USUAL or lower in suffixes())


def suffix_of(name: bytes) -> str:
    """Return a file's suffix in lower case, as in `.txt`, or `no suffix`."""
    _, dot, suffix = name.rpartition(b".")
    return f".{suffix.decode(errors='backslashreplace').lower()}" if dot else "no suffix"


def in_words(passed_over: Mapping[str, int]) -> str:
    """Return how many files were passed over, the most frequent suffix first; empty for none."""
    if not passed_over:
        return ""
    ranked = sorted(passed_over.items(), key=lambda entry: (-entry[1], entry[0]))
    shown = ", ".join(f"{count:,} {suffix}" for suffix, count in ranked[:_SHOWN])
    more = f" and {len(ranked) - _SHOWN} more suffixes" if len(ranked) > _SHOWN else ""
    total = sum(passed_over.values())
    return f"{total:,} file{'' if total == 1 else 's'} passed over while listing: {shown}{more}"


#: Suffixes that a sentence lists.
_SHOWN = 10
