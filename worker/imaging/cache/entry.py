"""The format of one cached image: a header, then its pixels; a checksum covers both.

An entry names its key and its source, so a torn, corrupted, misplaced or outdated file is recognised.
"""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

Pixels = npt.NDArray[np.uint8]

#: Bytes of a key, of an identity and of a digest.
KEY_BYTES, IDENTITY_BYTES, DIGEST_BYTES = 20, 32, 16
#: Names this format.
FORMAT = "PENSTKC3"
_MAGIC = FORMAT.encode()
#: Key, identity, digest, height, width, channels, `Entry.width`, microseconds that the image took to make.
#: Zeros follow, up to the header's end.
_FIELDS = struct.Struct(f"<{KEY_BYTES}s{IDENTITY_BYTES}s{DIGEST_BYTES}sIIIIQ12x")
_CHECKSUM_BYTES = 16
_CHECKED_FROM = len(_MAGIC) + _CHECKSUM_BYTES
#: Bytes before the pixels; a multiple of 64 keeps them aligned.
HEADER_BYTES = 128
#: Most channels of an image.
_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class Source:
    """What tells the bytes that an image was made of from others: either of the two, where it is not empty."""

    #: Identity of their file, or of themselves.
    identity: bytes = b""
    #: Digest of the bytes.
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Entry:
    """A cached image."""

    pixels: Pixels
    #: Seconds that reading it from its source's bytes took when it was made: what a hit saves.
    made_s: float
    #: If `pixels` are the planes of a picture (`planes.py`), its width; else 0.
    width: int = 0


def digest_of(content: bytes) -> bytes:
    """Return the digest of a source's bytes: it tells other bytes by accident, and is no signature."""
    return xxhash.xxh3_128_digest(content)


def pack(key: bytes, source: Source, entry: Entry) -> tuple[bytes, Pixels]:
    """Return an entry's header and its pixels, one-dimensional, as they are written one after the other."""
    pixels = np.ascontiguousarray(entry.pixels)
    made_us = int(entry.made_s * 1e6)
    checked = _FIELDS.pack(key, source.identity, source.digest, *pixels.shape, entry.width, made_us)
    flat = pixels.reshape(-1)
    digest = xxhash.xxh3_128(checked)
    digest.update(flat.data)
    return _MAGIC + digest.digest() + checked, flat


def unpack(content: Pixels, key: bytes, source: Source) -> Entry | None:
    """Return the entry that `content` holds, its pixels as a view; None unless it is whole and of this source."""
    if len(content) < HEADER_BYTES:
        return None
    header = content[:HEADER_BYTES].tobytes()
    fields = _FIELDS.unpack_from(header, _CHECKED_FROM)
    found_key, identity, digest, height, width, channels, real_width, made_us = fields
    size = HEADER_BYTES + height * width * channels
    if not header.startswith(_MAGIC) or found_key != key:
        return None
    if source.identity != identity and source.digest != digest:
        return None
    if len(content) < size or not 0 < channels <= _CHANNELS:
        return None
    content = content[:size]  # a place is a little longer
    if xxhash.xxh3_128_digest(content[_CHECKED_FROM:].data) != header[len(_MAGIC) : _CHECKED_FROM]:
        return None
    return Entry(content[HEADER_BYTES:].reshape(height, width, channels), made_us / 1e6, real_width)
