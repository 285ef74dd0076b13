"""Which files of a folder are images: told by the suffix, as nothing is opened while a source is listed."""

#: Suffixes of image files, in any case.
SUFFIXES = frozenset({b"jpg", b"jpeg", b"png", b"webp", b"bmp", b"gif", b"tif", b"tiff", b"ppm"})


def is_image(name: bytes) -> bool:
    """Return whether a file's name ends like that of an image."""
    _, dot, suffix = name.rpartition(b".")
    return bool(dot) and suffix.lower() in SUFFIXES


def suffix_of(name: bytes) -> str:
    """Return a file's suffix in lower case, for counting: `.txt`, or empty."""
    _, dot, suffix = name.rpartition(b".")
    return f".{suffix.decode(errors='backslashreplace').lower()}" if dot else ""
