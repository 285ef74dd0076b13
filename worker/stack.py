"""Many small images warped by one call: what a call costs by itself is then paid once for some thirty of them.

Owns the trick alone; what is sampled where is the matter of `warp`, and the bytes are those of its `sample`. Images are
laid below each other with the last row and column doubled, so that no coordinate, clamped into its own image, ever
reads a neighbour's pixel with a weight; and as red, green, blue and a fourth, unused channel, which OpenCV samples in
half the time of three. Only for fill mode `nearest`, whose clamping is this.
"""

import cv2
import numpy as np
import numpy.typing as npt

from penstock.worker.decode import Pixels

Float32s = npt.NDArray[np.float32]

#: Channels that are worth it: one or four are sampled well as they are.
CHANNELS = 3


class StackWarp:
    """Memory for stacks of up to `count` images of one size; for use by one thread at a time."""

    def __init__(self, count: int, height: int, width: int) -> None:
        """Take the largest stack's size; OpenCV bounds its rows, `count` · (`height` + 1), by 32,767."""
        self._height, self._width = height, width
        self._wide = np.empty((count, height, width), np.uint32)  # a pixel of four channels each
        self._padded = np.empty((count, height + 1, width + 1), np.uint32)
        self._points = np.empty((2, count, height, width), np.float32)
        self._first_row = np.arange(count, dtype=np.float32)[:, np.newaxis, np.newaxis] * np.float32(height + 1)

    def __call__(self, images: Pixels, points: Float32s, out: Pixels) -> None:
        """Sample `images` (samples, height, width, 3) at `points` (samples, 2, height, width) into `out`."""
        count, height, width = len(images), self._height, self._width
        wide, padded, (x, y) = self._wide[:count], self._padded[:count], self._points[:, :count]
        cv2.cvtColor(images.reshape(-1, width, CHANNELS), cv2.COLOR_RGB2RGBA, _bytes(wide))
        padded[:, :height, :width] = wide
        padded[:, height, :width] = wide[:, -1]
        padded[:, :, width] = padded[:, :, width - 1]
        for axis, (target, last) in enumerate(((x, width - 1), (y, height - 1))):
            np.maximum(points[:, axis], np.float32(0.0), out=target)
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
