"""Writes TFRecord files of `tf.train.Example` by hand, so that no test needs TensorFlow for it.

`make test-formats` reads files of TensorFlow's own writer.
"""

import struct
from collections.abc import Iterable
from pathlib import Path

from penstock.sources.containers.tfrecord import masked_crc

#: A feature's values.
Values = list[bytes] | list[int] | list[float]


def varint(value: int) -> bytes:
    """Return a variable-length integer."""
    value &= 0xFFFFFFFFFFFFFFFF
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def field(number: int, content: bytes) -> bytes:
    """Return a field that is written with its length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(values: Values, *, packed: bool = True) -> bytes:
    """Return a Feature."""
    if any(isinstance(value, bytes) for value in values):
        return field(1, b"".join(field(1, value) for value in values if isinstance(value, bytes)))
    if any(isinstance(value, float) for value in values):
        return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
    numbers = [varint(value) for value in values if isinstance(value, int)]
    return field(3, field(1, b"".join(numbers)) if packed else b"".join(b"\x08" + number for number in numbers))


def example(features: dict[str, bytes]) -> bytes:
    """Return an Example of named features."""
    entries = (field(1, field(1, name.encode()) + field(2, each)) for name, each in features.items())
    return field(1, b"".join(entries))


def record(content: bytes) -> bytes:
    """Return a record with its checksums."""
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc(length)) + content + struct.pack("<I", masked_crc(content))


def sample(image: bytes, label: Values) -> bytes:
    """Return a record of an image and its label, with other features around them."""
    return record(
        example(
            {
                "image/format": feature([b"JPEG"]),
                "image/encoded": feature([image]),
                "image/height": feature([300]),
                "image/class/label": feature(label),
                "image/boxes": feature([0.5, 0.25]),
            }
        )
    )


def write_tfrecord(path: Path, records: Iterable[bytes]) -> None:
    """Write a TFRecord file."""
    path.write_bytes(b"".join(records))
