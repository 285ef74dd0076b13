"""Geometry of samples: resizing a decoded image and where patches are cut. Refuses to know files and labels.

Bytes must be the same on every host. Pillow's resampling is fixed-point arithmetic in plain C. OpenCV's own kernels
give the same bytes for every instruction set, but Intel's IPP inside it does not (its bicubic differs between CPUs), so
it is switched off. Importing this module also ends OpenCV's thread pool: a worker has one process a core.
"""

from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from penstock.protocol.errors import ItemError
from penstock.protocol.spec import Stream
from penstock.protocol.transform_spec import Patch, Resize
from penstock.worker.decode import Pixels

cv2.setNumThreads(0)

_PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_OPENCV = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}

Box = tuple[float, float, float, float]
Draws = npt.NDArray[np.float64]


class Cutter:
    """Makes patches of decoded images, one image after the other; for use by one thread at a time."""

    def __init__(self, settings: Stream, seed: int) -> None:
        """Take the settings of a stream and the spec's seed."""
        transform = settings.transform
        self._seed = seed
        self._patches = settings.patches
        self._resize, self._patch = transform.resize, transform.patch
        #: Uniforms in [0, 1) that each sample takes: the patch's offset, y and then x, if patches are random.
        self.columns = 2 if self._patch is not None and self._patch.kind == "random" else 0
        self._resized: Pixels = np.empty(0, np.uint8)

    def cuts(self, pixels: Pixels, epoch: int, item: int, draws: Draws) -> Iterator[tuple[Pixels, int]]:  # noqa: ARG002 - scattered patches will
        """Yield each patch's pixels (uint8; height, width, channels) and the index of its manipulation, 0 for none.

        `draws` (float64; patches, columns) are the uniforms of the samples. What is yielded may be a view that is
        not contiguous, and stays valid until the next is asked for. Raises ItemError.
        """
        if self._resize is not None:
            shape = (self._resize.height, self._resize.width, pixels.shape[2])
            if self._resized.shape != shape:
                self._resized = np.empty(shape, np.uint8)
            resize(pixels, self._resize, self._resized)
            pixels = self._resized
        patch = self._patch
        if patch is None:
            yield pixels, 0
            return
        slack_y, slack_x = slack(pixels, patch)
        for index in range(self._patches):
            if patch.kind == "random":
                y, x = offset(slack_y, draws[index, 0]), offset(slack_x, draws[index, 1])
            elif patch.kind == "grid":
                y, x = grid_offset(slack_y, slack_x, patch, index)
            else:
                y, x = center_offset(slack_y, slack_x)
            yield pixels[y : y + patch.height, x : x + patch.width], 0


def resize(pixels: Pixels, settings: Resize, out: Pixels) -> None:
    """Resize `pixels` into `out`, which has the settings' size and is C-contiguous.

    Pillow's filters widen with the reduction (antialias); of OpenCV's, `area` averages when it shrinks, and `linear`
    and `cubic` look at the nearest pixels only. Raises ItemError.
    """
    height, width = pixels.shape[:2]
    box = None if settings.fit == "stretch" else cover_box(height, width, settings.height, settings.width)
    if (height, width) == (settings.height, settings.width):
        np.copyto(out, pixels)
        return
    try:
        if settings.filter in _OPENCV:
            _resize_opencv(pixels, _OPENCV[settings.filter], box, out)
        else:
            _resize_pillow(pixels, _PILLOW[settings.filter], box, out)
    except (cv2.error, MemoryError, ValueError) as error:
        raise ItemError(
            f"cannot resize {width} × {height} pixels to {settings.width} × {settings.height}: {error}"
        ) from error


def _resize_pillow(pixels: Pixels, resample: Image.Resampling, box: Box | None, out: Pixels) -> None:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    size = (out.shape[1], out.shape[0])
    out[...] = np.asarray(image.resize(size, resample, box=box)).reshape(out.shape)


def _resize_opencv(pixels: Pixels, interpolation: int, box: Box | None, out: Pixels) -> None:
    if box is not None:  # OpenCV has no fractional boxes: the nearest whole pixels
        left, top = (min(int(edge + 0.5), side - 1) for edge, side in zip(box[:2], pixels.shape[1::-1], strict=True))
        right, bottom = max(left + 1, int(box[2] + 0.5)), max(top + 1, int(box[3] + 0.5))
        pixels = pixels[top:bottom, left:right]
    flat = out[..., 0] if out.shape[2] == 1 else out
    cv2.ipp.setUseIPP(False)  # per thread, so here; it costs 0.1 µs
    result = cv2.resize(pixels, (out.shape[1], out.shape[0]), dst=flat, interpolation=interpolation)
    if result is not flat:
        out[...] = np.reshape(result, out.shape)


def cover_box(height: int, width: int, to_height: int, to_width: int) -> Box:
    """Return the largest centred (left, top, right, bottom) of an image with the aspect ratio of the wanted size."""
    if width * to_height > to_width * height:
        keep = float(Fraction(height * to_width, to_height))
        return (width - keep) / 2, 0.0, (width + keep) / 2, float(height)
    keep = float(Fraction(width * to_height, to_width))
    return 0.0, (height - keep) / 2, float(width), (height + keep) / 2


def slack(pixels: Pixels, patch: Patch) -> tuple[int, int]:
    """Return the largest offsets (y, x) at which a patch still lies inside the image. Raises ItemError if none does."""
    height, width = pixels.shape[:2]
    if height < patch.height or width < patch.width:
        raise ItemError(
            f"the image has {width} × {height} pixels, less than the patch of {patch.width} × {patch.height}"
        )
    return height - patch.height, width - patch.width


def center_offset(slack_y: int, slack_x: int) -> tuple[int, int]:
    """Return the offset of the centred patch, rounded towards the top left."""
    return slack_y // 2, slack_x // 2


def offset(room: int, draw: float) -> int:
    """Return the place in [0, room] that a uniform of [0, 1) stands for."""
    return int(draw * (room + 1))


def random_offset(slack_y: int, slack_x: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return an offset drawn uniformly from [0, slack]. Always draws two numbers, y first, then x.

    `random()` and not `integers()`: its definition, 53 bits of the bit generator's next word, is as lasting as the bit
    generator, where numpy may change its bounded integers (NEP 19). The bias is below 2^-36.
    """
    return int(rng.random() * (slack_y + 1)), int(rng.random() * (slack_x + 1))


def grid_offset(slack_y: int, slack_x: int, patch: Patch, index: int) -> tuple[int, int]:
    """Return the offset of patch `index`, counted by rows: evenly spaced from edge to edge; a single one is centred."""
    row, column = divmod(index, patch.columns)
    return _spread(slack_y, patch.rows, row), _spread(slack_x, patch.columns, column)


def _spread(room: int, count: int, index: int) -> int:
    if count == 1:
        return room // 2
    return (2 * room * index + count - 1) // (2 * (count - 1))  # rounds half up
