"""The program that `process.py` starts: reads requests from its input and writes pixels to its output."""

import resource
import sys
from typing import BinaryIO

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.jpeg2000.process import REPLY, REQUEST
from penstock.worker.imaging.limits import most_bytes

#: Memory (bytes) that the process may use besides what the image's size accounts for: interpreter and libraries.
_BASE_BYTES = 1_500_000_000


def main() -> None:
    """Answer requests until there are no more."""
    colors = {1: "gray", 3: "rgb", 4: "rgba"}
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(REQUEST.size):
        channels, oriented, max_pixels, length = REQUEST.unpack(head)
        data = source.read(length)
        limit = _BASE_BYTES + length + most_bytes("JPEG2000", max_pixels)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
        decoder = Decoder(
            colors[channels],  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            exif_orientation=oriented,
            max_megapixels=(max_pixels + 0.5) / 1e6,  # which is cut to a whole number again
            apart=False,
        )
        try:
            pixels = decoder.decode(data)
        except ItemError as error:
            reason = str(error).encode()
            _send(target, REPLY.pack(0, 0, 0, len(reason)), reason)
        else:
            _send(target, REPLY.pack(*pixels.shape, 0), np.ascontiguousarray(pixels).data)


def _send(target: BinaryIO, head: bytes, content: bytes | memoryview) -> None:
    target.write(head)
    target.write(content)
    target.flush()


if __name__ == "__main__":
    main()
