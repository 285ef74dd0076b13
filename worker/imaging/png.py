"""Checks a PNG file's chunks before Pillow decodes it, and leaves out those that its pixels do not need.

Pillow decodes IDAT without its checksum and accepts a file that ends before IEND, so a flipped bit would become other
pixels. It also refuses files whose metadata unpack to more than a megabyte. A CRC costs 0.5 to 1.4 % of a decode.
"""

import zlib
from collections.abc import Iterator

from penstock.protocol.errors import ItemError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Chunks that change pixels though their names say that a decoder may ignore them.
_PIXELS = frozenset({b"tRNS"})
#: Chunks that may be damaged and left out. Any other name may be that of a chunk of pixels with a flipped bit.
_METADATA = frozenset(
    b"acTL bKGD cHRM cICP eXIf fcTL fdAT gAMA hIST iCCP iTXt pHYs sBIT sPLT sRGB tEXt tIME zTXt".split()
)
#: Keywords of text chunks in which Pillow looks for an orientation.
_ORIENTED = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})
#: Text that unpacks to more (bytes) is left out: an orientation needs a few hundred, and Pillow's own limit is 2^20.
_MOST_TEXT = 1 << 19
#: Chunks of a file. Encoders write IDAT in pieces of 8 KB or more; a file of empty chunks would take seconds to walk.
_MOST_CHUNKS = 200_000
#: Bytes of a chunk besides its data: length, name and checksum.
_FRAME = 12


def without_metadata(data: bytes, *, oriented: bool) -> bytes:
    """Return a PNG with its pixels' chunks, and those that hold an orientation if `oriented`.

    Raises ItemError if a checksum differs from its data, or the file ends early.
    """
    view, kept, dropped = memoryview(data), [memoryview(SIGNATURE)], False
    for name, start, end in _chunks(data):
        needed = name[:1].isupper() or name in _PIXELS
        if name not in _METADATA and zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(
            view[end - 4 : end], "big"
        ):
            raise ItemError(f"damaged PNG: the checksum of its chunk {_show(name)} says that its data changed")
        if needed or (oriented and _may_orient(name, view[start + 8 : end - 4])):
            kept.append(view[start:end])
        else:
            dropped = True
    return b"".join(kept) if dropped else data


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name, start and end, IEND being the last."""
    at = len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        name = data[at + 4 : at + 8]
        end = at + _FRAME + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            inside = f"inside its chunk {_show(name)}" if len(name) == len(b"IDAT") else "before its chunk IEND"
            raise ItemError(f"damaged PNG: the file ends {inside}, after {len(data)} bytes")
        yield name, at, end
        if name == b"IEND":
            return
        at = end
    raise ItemError(f"a PNG of more than {_MOST_CHUNKS} chunks: write it anew with any other program")


def _may_orient(name: bytes, content: memoryview) -> bool:
    """Tell whether Pillow may find an orientation in a chunk, and unpacks it within its limits."""
    if name == b"eXIf":
        return True
    if name not in _TEXT or not bytes(content[:32]).startswith(_ORIENTED):
        return False
    if name == b"tEXt":
        return len(content) < _MOST_TEXT
    keyword = bytes(content[:32]).index(b"\0") + 1
    if name == b"zTXt":
        return _unpacks_small(content[keyword + 1 :])
    packed, rest = content[keyword] == 1, bytes(content[keyword + 2 : keyword + 2 + 1024]).split(b"\0", 2)
    if not packed or len(rest) < 3:  # noqa: PLR2004 - language, translated keyword, text
        return len(content) < _MOST_TEXT
    return _unpacks_small(content[keyword + 2 + len(rest[0]) + len(rest[1]) + 2 :])


def _unpacks_small(packed: memoryview) -> bool:
    try:
        return len(zlib.decompressobj().decompress(packed, _MOST_TEXT)) < _MOST_TEXT
    except zlib.error:
        return False


def _show(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")
