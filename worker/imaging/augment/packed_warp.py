"""Warps of red, green and blue and a fourth, unused channel, which OpenCV samples in less time than three.

Owns two tricks of speed alone; what is sampled where is the matter of `warp`, and the bytes are those of its `sample`.
`WideWarp` does one image after the other, for images large enough that the conversion pays. `StackWarp` does some
thirty small ones by one call, so that what a call costs by itself is paid once: they are laid below each other with the
last row and column doubled, so that no coordinate, clamped into its own image, ever reads a neighbour's pixel with a
weight. Only for fill mode `nearest`, whose clamping is this.
"""

import cv2
import numpy as np
import numpy.typing as npt

from penstock.worker.imaging.augment.warp import Sampling
from penstock.worker.imaging.decode import Pixels

Float32s = npt.NDArray[np.float32]

#: Channels that are worth it: one or four are sampled well as they are.
CHANNELS = 3
#: Pixels of the smallest image for which a conversion there and back pays.
WIDE_PIXELS = 64 * 64


class WideWarp:
    """Memory for one image; for use by one thread at a time."""

    def __init__(self, sampling: Sampling, rows: int) -> None:
        """Take how images are sampled, and how many rows at most by a call of `sample`."""
        self._sampling = sampling
        self._source = np.empty((sampling.height, sampling.width, 4), np.uint8)
        self._target = np.empty((rows, sampling.width, 4), np.uint8)

    def load(self, image: Pixels) -> None:
        """Take the image (height, width, 3) that is sampled next."""
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, self._source)

    def sample(self, points: Float32s, out: Pixels) -> None:
        """Sample the image at `points` (2, rows, width) into `out` (rows, width, 3)."""
        target = self._target[: len(out)]
        self._sampling.sample(self._source, points, target)
        cv2.cvtColor(target, cv2.COLOR_RGBA2RGB, out)


class StackWarp:
    """Memory for stacks of up to `count` images of one size; for use by one thread at a time."""

    def __init__(self, count: int, height: int, width: int) -> None:
        """Take the largest stack's size; OpenCV bounds its rows, `count` · (`height` + 1), by 32,767."""
        self._height, self._width = height, width
        self._wide = np.empty((count, height, width), np.uint32)  # a pixel of four channels each
        self._padded = np.empty((count, height + 1, width + 1), np.uint32)
        self._first_row = np.arange(count, dtype=np.float32)[:, np.newaxis, np.newaxis] * np.float32(height + 1)

    def __call__(self, images: Pixels, points: Float32s, out: Pixels) -> None:
        """Sample `images` (samples, height, width, 3) at `points` (samples, 2, height, width) into `out`.

        `points` are changed.
        """
        count, height, width = len(images), self._height, self._width
        wide, padded = self._wide[:count], self._padded[:count]
        cv2.cvtColor(images.reshape(-1, width, CHANNELS), cv2.COLOR_RGB2RGBA, _bytes(wide))
        padded[:, :height, :width] = wide
        padded[:, height, :width] = wide[:, -1]
        padded[:, :, width] = padded[:, :, width - 1]
        x, y = points[:, 0], points[:, 1]
        for target, last in ((x, width - 1), (y, height - 1)):
            np.maximum(target, np.float32(0.0), out=target)
            np.minimum(target, np.float32(last), out=target)
        y += self._first_row[:count]
        rows = (count, height * width)  # a row an image: OpenCV takes the last few of each one by one
        cv2.remap(
            _bytes(padded),
            x.reshape(rows),
            y.reshape(rows),
            cv2.INTER_LINEAR,
            _bytes(wide.reshape(1, *rows)),
            cv2.BORDER_REPLICATE,
        )
        cv2.cvtColor(_bytes(wide), cv2.COLOR_RGBA2RGB, out.reshape(-1, width, CHANNELS))


def _bytes(pixels: npt.NDArray[np.uint32]) -> Pixels:
    """Return the same memory as one image of four channels."""
    return pixels.view(np.uint8).reshape(-1, pixels.shape[2], 4)
