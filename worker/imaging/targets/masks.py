"""Masks: decodes their files, checks them and moves them."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Pixels, Size
from penstock.protocol.spec.targets.mask import MaskTarget
from penstock.protocol.wire import Array
from penstock.worker.imaging.limits import check_tiles
from penstock.worker.imaging.pillow import REFUSALS
from penstock.worker.imaging.program import Program
from penstock.worker.imaging.targets.base import LoadedTarget, TargetLoader
from penstock.worker.imaging.targets.cells import shown
from penstock.worker.imaging.targets.moving import moved_mask

#: Formats that keep every class number as it is.
_FORMATS = ("PNG", "BMP", "TIFF")
#: Modes of Pillow with one channel of at most 8 bits: truth values, levels, indices of a palette.
_MODES = ("1", "L", "P")


class MaskLoader(TargetLoader):
    """Loads masks."""

    def __init__(self, target: MaskTarget) -> None:
        """Take the target's fields in the spec."""
        self._target = target
        self._allowed = np.zeros(256, np.bool_)
        self._allowed[: target.classes] = True
        self._allowed[target.ignore] = True

    def load(self, cell: str, content: bytes | ItemError | None, image: Size) -> LoadedTarget:
        """Return the mask of an image."""
        if isinstance(content, ItemError):
            raise ItemError(f"{shown(cell)!r}: {content}") from content
        mask = _decoded(f"mask {shown(cell)!r}", content or b"", image)
        wrong = ~self._allowed[mask]
        if wrong.any():
            y, x = (int(place) for place in np.argwhere(wrong)[0])
            raise ItemError(
                f"mask {shown(cell)!r}: class {mask[y, x]} at x = {x}, y = {y} is not known: classes = "
                f"{self._target.classes} are 0 to {self._target.classes - 1}, and ignore = {self._target.ignore}"
            )
        return _Mask(mask, self._target.ignore)


def _decoded(where: str, content: bytes, image: Size) -> Pixels:
    """Return the class numbers of a mask that has the size of its image. Raises ItemError."""
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            found = opened.mode, (opened.height, opened.width)
            if found[0] in _MODES and found[1] == image:  # else it is not worth decoding
                check_tiles(opened, image[0] * image[1])
                return np.asarray(opened).astype(np.uint8)
    except REFUSALS as error:
        raise ItemError(f"{where}: not an image of {', '.join(_FORMATS)} that can be read: {error}") from error
    if found[1] != image:
        raise ItemError(
            f"{where}: has {found[1][1]} × {found[1][0]} pixels (width × height), and its image {image[1]} × {image[0]}"
        )
    raise ItemError(f"{where}: has mode {found[0]}: a mask has one channel of 8 bits (modes {', '.join(_MODES)})")


class _Mask(LoadedTarget):
    """The mask of one image."""

    def __init__(self, mask: Pixels, ignore: int) -> None:
        self._mask, self._ignore = mask, ignore

    def write(self, program: Program, out: Sequence[Array], row: int) -> None:
        """Write the moved mask."""
        out[0][row] = moved_mask(program.moves, self._mask, self._ignore)
