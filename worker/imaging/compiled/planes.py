"""The planes of a JPEG with halved colours: half as many bytes as its pixels, and what libjpeg would make of them.

Most photos are such files. Their decoder has a level of luma for each pixel and one of each chroma for four pixels, and
makes three bytes a pixel of them last. Here that is done for the parts of a picture that its samples show, and a cache
keeps what comes before it. The pixels are libjpeg-turbo's, to the last bit. There are none without the
extension, and on processors that its colours have no vectors for.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size, Window
from penstock.worker.imaging.partial_jpeg import Box, load_extension

Pixels = npt.NDArray[np.uint8]
#: Returns the parts of an image of some size that count, which lie inside it; None for all of it. Raises no ItemError.
Windows = Callable[[Size], Sequence[Window] | None]


def extension_with_vectors() -> Any:  # noqa: ANN401 - a compiled module
    """Return the compiled extension, or None where it was not built or has no vectors for this processor's colours.

    libjpeg-turbo, which has some for every processor, is faster then.
    """
    extension = load_extension()
    return extension if extension is not None and extension.VECTORS > 1 else None


#: The extension that decodes to planes, or None.
EXTENSION = extension_with_vectors()
#: Columns of an MCU: rows of planes are as long as a multiple of it.
_UNIT = 16
#: Narrower pictures are not decoded here: libjpeg upsamples those of up to 4 columns otherwise.
LEAST_WIDTH = 16
_CHANNELS = 3
_JPEG = b"\xff\xd8"


def rows_of(height: int) -> int:
    """Return how many rows the planes of a picture have: of luma, and of both chroma side by side."""
    return height + (height + 1) // 2


def height_of(rows: int) -> int:
    """Return the height of a picture whose planes have so many rows."""
    return rows * 2 // 3


def planes_shape(height: int, width: int) -> tuple[int, int, int]:
    """Return the shape of the planes of a picture."""
    return rows_of(height), -(-width // _UNIT) * _UNIT, 1


@dataclass(frozen=True, slots=True)
class Planes:
    """A picture by its planes."""

    #: As `planes_shape` has it.
    rows: Pixels
    height: int
    width: int

    def write(self, windows: Windows | None, out: Pixels) -> None:
        """Write the pixels in the windows, or all, to their places in `out`: height, width, 3. Others may change.

        Raises ItemError if there is no memory for that.
        """
        parts = windows((self.height, self.width)) if windows else None
        boxes = [*map(Box.of, parts or ())]
        if not boxes or sum(box.height * box.width for box in boxes) >= self.height * self.width:
            boxes = [Box(0, 0, self.height, self.width)]  # where many windows overlap, all of it is less work
        try:
            EXTENSION.colors(self.rows, self.width, np.array(boxes, np.int32), out)
        except MemoryError as error:
            raise ItemError(f"not enough memory to make {self.width} × {self.height} pixels") from error


class Painter:
    """Makes the pixels of pictures, one after the other."""

    def __init__(self) -> None:
        """Take no memory yet."""
        self._room: Pixels = np.empty(0, np.uint8)

    def pixels(self, planes: Planes, windows: Windows) -> Pixels:
        """Return the pixels of a picture, valid until the next call; those outside of the windows may be anything.

        Raises ItemError if there is no memory for them.
        """
        size = planes.height * planes.width * _CHANNELS
        if size > self._room.size:
            try:
                self._room = np.empty(size, np.uint8)
            except MemoryError as error:
                raise ItemError(f"not enough memory for {size} bytes of pixels") from error
        out = self._room[:size].reshape(planes.height, planes.width, _CHANNELS)
        planes.write(windows, out)
        return out


class PlaneDecoder:
    """Decodes JPEGs to planes, one after the other; for use by one thread at a time."""

    def __init__(self, max_pixels: int) -> None:
        """Take the most pixels that a picture may have."""
        self._max_pixels = max_pixels
        self._room: Pixels = np.empty(0, np.uint8)

    def decode(self, data: bytes) -> Planes | None:
        """Return a picture's planes, valid until the next call.

        None if it is no flawless JPEG with halved colours, or if there is no memory for them.
        """
        if not data.startswith(_JPEG):
            return None
        found = EXTENSION.planes(data, self._room, self._max_pixels)
        if found is not None and not found[2]:
            try:
                self._room = np.empty(math.prod(planes_shape(found[0], found[1])), np.uint8)
            except MemoryError:
                return None
            found = EXTENSION.planes(data, self._room, self._max_pixels)
        if found is None:
            return None
        height, width, _ = found
        shape = planes_shape(height, width)
        return Planes(self._room[: shape[0] * shape[1]].reshape(shape), height, width)
