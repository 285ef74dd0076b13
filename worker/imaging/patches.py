"""Cuts all patches of a decoded image, each under one manipulation or under all of them.

Reading files and adding labels are left to `pipeline.py`.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ItemError
from penstock.protocol.order import DRAW_PLACES, sample_generator
from penstock.protocol.spec.operation import Kernel, Size, Unchanged, Window
from penstock.protocol.spec.spec import Stream
from penstock.worker.imaging.decode import Pixels
from penstock.worker.imaging.patch_positions import cell_offset, center_offset, grid_offset, random_offset, scatter
from penstock.worker.imaging.resize import enlarge, resize

Draws = npt.NDArray[np.float64]


class Cutter:
    """Cuts the patches of one image after the other; for use by one thread at a time."""

    def __init__(self, settings: Stream, seed: int) -> None:
        """Take the settings of a stream and the spec's seed."""
        self._transform = settings.transform
        self._patch = settings.transform.window
        self._patches, self._seed = settings.patches, seed
        self._max_pixels = int(settings.transform.max_megapixels * 1e6)
        manipulations = settings.transform.manipulations
        self._kinds = (None, *(manipulations.all if manipulations else ()))
        self._kernels: list[Kernel] = [kind.kernel() if kind else Unchanged() for kind in self._kinds]
        self._offsets = 2 if self._patch.kind == "random" else 0
        #: Uniforms in [0, 1) that each sample takes: the offset, y and then x, if patches are `random`; then the
        #: manipulation, if there are any: even if all are shown, so that whatever is drawn after it stays the same.
        self.columns = self._offsets + (manipulations is not None)
        self._resized: Pixels = np.empty(0, np.uint8)

    def cuts(
        self, pixels: Pixels, epoch: int, item: int, draws: Draws, manipulation: int | None = None
    ) -> Iterator[tuple[Pixels, int]]:
        """Yield each patch's pixels (uint8; height, width, channels) and the index of its manipulation, 0 for none.

        `draws` (float64; patches, columns) are the uniforms of the samples. What is yielded may be a view that is not
        contiguous, and stays valid until the next is asked for. If an index of a `manipulation` is given, every patch
        shows that one, at the same relative place as it has under the one that is drawn. If the spec asks for `every`
        manipulation and none is given, each patch comes under all of them, by index. Raises ItemError.
        """
        pixels = self._prepared(pixels)
        for window, chosen in self._windows((pixels.shape[0], pixels.shape[1]), epoch, item, draws, manipulation):
            yield self._kernels[chosen].cut(pixels, window), chosen

    def sources(self, image: Size, epoch: int, item: int, draws: Draws) -> Sequence[Window] | None:
        """Return the parts of an image of this size (height, width) that its patches follow from, in order.

        What lies outside of them does not matter to `cuts`, so that a decoder may leave it out
        (`Decoder.decode_parts`). None if it is the whole image. Raises ItemError.
        """
        least = self._transform.least_size
        if self._transform.resize is not None or image[0] < least[0] or image[1] < least[1]:
            return None
        windows = self._windows(image, epoch, item, draws, None)
        return [self._kernels[chosen].source(image, window) for window, chosen in windows]

    def _prepared(self, pixels: Pixels) -> Pixels:
        size = self._transform.resize
        shape = pixels.shape if size is None else (size.height, size.width, pixels.shape[2])
        # An image from the cache has its size already; one that only Pillow may look at is copied.
        if size is not None and not (pixels.shape == shape and pixels.flags.carray):
            if self._resized.shape != shape:
                self._resized = np.empty(shape, np.uint8)
            resize(pixels, size, self._resized)
            pixels = self._resized
        return enlarge(pixels, self._transform.least_size, self._patch, self._max_pixels)

    def _windows(
        self, image: Size, epoch: int, item: int, draws: Draws, manipulation: int | None
    ) -> Iterator[tuple[Window, int]]:
        """Yield where each patch lies in the manipulated image, before any turn, and its manipulation."""
        cells = self._cells(image, epoch, item) if self._patch.kind == "scattered" else []
        cell = self._transform.cell(image) if cells else (0, 0)
        for index in range(self._patches):
            for chosen in self._shown(draws[index], manipulation):
                kind = self._kinds[chosen]
                size, (height, width) = image, (self._patch.height, self._patch.width)
                if kind is not None:
                    size, (height, width) = kind.size(image), kind.unturned((height, width))
                if cells:
                    y = cell_offset(cells[index][0], cell[0], image[0], size[0], height)
                    x = cell_offset(cells[index][1], cell[1], image[1], size[1], width)
                else:
                    y, x = self._offset(index, size[0] - height, size[1] - width, draws)
                yield Window(y, x, height, width), chosen

    def _shown(self, draws: Draws, manipulation: int | None) -> Sequence[int]:
        """Return the manipulations under which a patch is cut, by index."""
        manipulations = self._transform.manipulations
        if manipulation is not None or manipulations is None:
            return (manipulation or 0,)
        return range(len(self._kinds)) if manipulations.every else (manipulations.choose(float(draws[-1])),)

    def _offset(self, index: int, room_y: int, room_x: int, draws: Draws) -> tuple[int, int]:
        match self._patch.kind:
            case "random":
                return random_offset(room_y, draws[index, 0]), random_offset(room_x, draws[index, 1])
            case "grid":
                return grid_offset(room_y, room_x, self._patch, index)
            case _:
                return center_offset(room_y), center_offset(room_x)

    def _cells(self, image: Size, epoch: int, item: int) -> list[tuple[int, int]]:
        cell, capacity = self._transform.cell(image), self._transform.capacity(image)
        if capacity < self._patches:
            raise ItemError(
                f"{self._patches} patches of {cell[0]} × {cell[1]} do not fit into {image[0]} × {image[1]} pixels "
                f"(height × width) without overlapping: at most {capacity} do; ask for fewer or smaller ones, or for "
                'kind = "random", which may overlap'
            )
        return scatter(self._patches, cell, image, sample_generator(self._seed, epoch, item, 0, DRAW_PLACES))
