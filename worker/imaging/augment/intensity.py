"""Changes of a sample's levels: channel shift and brightness.

Meanings are Keras's: a channel shift is cut to the sample's own lowest and highest value; brightness is Pillow's
`ImageEnhance.Brightness`, which multiplies in float32 and drops the fraction.
"""

import cv2
import numpy as np
import numpy.typing as npt

from penstock.worker.imaging.decode import Pixels

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
_WHITE = 255


def shift_levels(samples: Pixels, shift: Float64s) -> None:
    """Add `shift` (levels, rounded; one a sample) to uint8 `samples` (samples, values), in place.

    What leaves a sample's own range is cut to it: min(max(x + s, low), high) is min(max(x, low - s), high - s) + s, of
    which every step fits uint8.
    """
    low = samples.min(axis=1).astype(np.int64)
    high = samples.max(axis=1).astype(np.int64)
    whole = np.clip(np.rint(np.clip(shift, -_WHITE, _WHITE)).astype(np.int64), low - _WHITE, high)
    limit = np.empty_like(samples)  # in full: against a broadcast number, numpy's maximum takes 20 times as long
    limit[:] = np.clip(low - whole, 0, _WHITE).astype(np.uint8)[:, np.newaxis]
    np.maximum(samples, limit, out=samples)
    limit[:] = np.clip(high - whole, 0, _WHITE).astype(np.uint8)[:, np.newaxis]
    np.minimum(samples, limit, out=samples)
    samples += (whole % 256).astype(np.uint8)[:, np.newaxis]  # modulo 256


def brighten(samples: Pixels, factor: Float64s, *, channels: int = 3) -> None:
    """Multiply uint8 `samples` (samples, values) by one `factor` each, in place: cut at 255, fractions dropped.

    Of four channels, the last (alpha) stays.
    """
    if channels == 4:  # noqa: PLR2004 - red, green, blue, alpha
        alpha = samples[:, 3::4].copy()
        brighten(samples, factor, channels=3)
        samples[:, 3::4] = alpha
        return
    tables = brightness_tables(factor)
    for sample, table in zip(samples, tables, strict=True):
        cv2.LUT(sample, table, dst=sample)


def brightness_tables(factor: Float64s) -> Pixels:
    """Return for each factor what Pillow makes of every level, uint8 (factors, 256)."""
    levels = np.arange(256, dtype=np.float32)
    product = factor.astype(np.float32)[:, np.newaxis] * levels
    tables: Pixels = np.clip(product, 0, _WHITE).astype(np.uint8)
    return tables


def shift_levels_float(samples: Float32s, shift: Float64s) -> None:
    """Add `shift` (one a sample) to float `samples` (samples, values), in place, cut to each one's own range."""
    low, high = samples.min(axis=1, keepdims=True), samples.max(axis=1, keepdims=True)
    samples += shift.astype(np.float32)[:, np.newaxis]
    np.clip(samples, low, high, out=samples)


def brighten_float(image: Float32s, factor: float) -> Float32s:
    """Return a float image (height, width, channels) multiplied as Keras does it: in whole levels of 0 to 255.

    An image that leaves this range is stretched to it and back. A fourth channel (alpha) stays.
    """
    low, high = np.float32(image.min()), np.float32(image.max())
    stretch = bool(low < 0 or high > _WHITE)
    whole = image
    if stretch:
        whole = image - low
        top = whole.max()
        whole = whole / top * np.float32(_WHITE) if top != 0 else whole
    levels = whole.astype(np.uint8)
    table = brightness_tables(np.array([factor]))[0]
    bright = table[levels].astype(np.float32)
    if image.shape[2] == 4:  # noqa: PLR2004 - red, green, blue, alpha
        bright[..., 3] = levels[..., 3]
    result: Float32s = bright / np.float32(_WHITE) * (high - low) + low if stretch else bright
    return result
