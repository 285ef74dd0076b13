"""Random changes of one sample, after it is cut. Owns what they do and the order in which they draw.

The order of draws is part of the stream's definition: another order is another stream under the same fingerprint, and a
golden test pins it. From a sample's generator are drawn, and only if the spec asks for them:

1. the patch's offset: y, then x (`patches.random_offset`);
2. the horizontal flip: one `random()`, mirrored if below one half.

What is added later draws after these. Refuses to know files, labels and where the patch came from.
"""

import cv2
import numpy as np

from penstock.protocol.augment_spec import Augment
from penstock.worker.decode import Pixels

_HALF = 0.5


def draws(settings: Augment) -> bool:
    """Return whether these settings draw anything at all."""
    return settings.horizontal_flip


def apply(pixels: Pixels, settings: Augment, rng: np.random.Generator | None, out: Pixels) -> None:
    """Write `pixels`, changed at random, into `out` of the same shape, which may be the very same array.

    `rng` may only be missing if nothing is drawn.
    """
    if rng is not None and settings.horizontal_flip and rng.random() < _HALF:
        _flip(pixels, out)
    elif pixels is not out:
        np.copyto(out, pixels)


def _flip(pixels: Pixels, out: Pixels) -> None:
    """Mirror left and right, in place too; numpy's reversed strides would take 30 times as long."""
    cv2.ipp.setUseIPP(True)  # `patches` switches it off, but moving pixels is exact and five times as fast with it
    flat = out[..., 0] if out.shape[2] == 1 else out
    result = cv2.flip(pixels[..., 0] if out.shape[2] == 1 else pixels, 1, dst=flat)
    if result is not flat:
        out[...] = np.reshape(result, out.shape)
