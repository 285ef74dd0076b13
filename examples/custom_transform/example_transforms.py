"""Two custom transforms: one changes the pixels, one returns another image and adds a field.

A transform gets one sample, a dict of numpy arrays, and a generator that belongs to this sample; it may change the
arrays it gets, and returns the sample. It must draw from `rng` alone, or a resumed run would not see the same samples.
"""

import numpy as np
import numpy.typing as npt

Sample = dict[str, npt.NDArray[np.generic]]


def sensor_noise(sample: Sample, rng: np.random.Generator, *, gain: float = 0.05, read: float = 2.0) -> Sample:
    """Add a sensor's noise to `image` (uint8): of variance gain × level (photons) + read² (electronics), in levels²."""
    image = sample["image"].astype(np.float32)
    noise = rng.standard_normal(image.shape, np.float32) * np.sqrt(gain * image + read**2)
    sample["image"] = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    return sample


def spectrum(sample: Sample, rng: np.random.Generator) -> Sample:
    """Replace `image` (height, width, channels) by the logarithm of its spectrum (float32, one channel).

    It adds `energy` (float32), the mean of that. Both stand in the spec, under `produces`.
    """
    del rng  # nothing here is random
    gray = sample["image"].astype(np.float32).mean(axis=2)
    found = np.fft.fftshift(np.log1p(np.abs(np.fft.fft2(gray - gray.mean())))).astype(np.float32)
    return sample | {"image": found[..., np.newaxis], "energy": found.mean(dtype=np.float32)}
