"""Statistics of a data set, which `Normalize` centres, scales and whitens by: made, saved and read here.

The files hold plain numbers: numpy's .npz without pickle, or JSON.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.normalize import Normalize

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

#: Number that Keras adds to standard deviations before it divides by them.
EPSILON = 1e-6
#: Images that are summed up at once: data sets are large, and float64 takes eight times their bytes.
_IMAGES = 256
_NAMES = ("mean", "std", "zca")


@dataclass(frozen=True, slots=True)
class Statistics:
    """The measured statistics; None for those that were not requested."""

    #: Mean of each channel of the rescaled samples.
    mean: Float64s | None = None
    #: Standard deviation of each channel of the rescaled, centred samples.
    std: Float64s | None = None
    #: Matrix (values, values) that whitens a flattened sample of (height, width, channels).
    zca: Float32s | None = None

    @classmethod
    def fit(cls, images: npt.NDArray[Any], settings: Normalize, *, zca_epsilon: float = 1e-6) -> Self:
        """Measure `images` (samples, height, width, channels; uint8 or float) as Keras's `fit` does.

        ZCA by singular value decomposition (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009):
        U (√n / (S + `zca_epsilon`)) Uᵀ. It takes values² · 4 bytes, all images in float64, and values³ operations.
        Raises SpecError.
        """
        if images.ndim != 4 or not len(images):  # noqa: PLR2004 - samples, height, width, channels
            raise SpecError(f"statistics of an array of shape {images.shape}: give (samples, height, width, channels)")
        rescale, mean, std, zca = settings.rescale or 1.0, None, None, None
        if settings.centers_features:
            mean = rescale * _mean(images, np.zeros(1), 1)
        if settings.scales_features and mean is not None:
            std = abs(rescale) * np.sqrt(_mean(images, mean / rescale, 2))
        if settings.zca_whitening and mean is not None:
            flat = (images.astype(np.float64) * rescale - mean).reshape(len(images), -1)
            left, singular, _ = np.linalg.svd(flat.T, full_matrices=False)
            zca = ((left * (np.sqrt(len(flat)) / (singular + zca_epsilon))) @ left.T).astype(np.float32)
        return cls(mean, std, zca)

    def save(self, path: str | Path) -> None:
        """Write a file that `Normalize.statistics` can name: .npz, or .json by its suffix."""
        found = {name: getattr(self, name) for name in _NAMES if getattr(self, name) is not None}
        if Path(path).suffix == ".json":
            text = json.dumps({name: values.tolist() for name, values in found.items()})
            Path(path).write_text(text, encoding="utf-8")
        else:
            np.savez(path, **found)

    @classmethod
    def load(cls, path: str | Path, *, sha256: str | None = None) -> tuple[Self, str]:
        """Return a file's statistics and its SHA-256. Raises SpecError, also if that is not `sha256`."""
        path = Path(path)
        try:
            return cls.parse(path, path.read_bytes(), sha256=sha256)
        except OSError as error:
            raise SpecError(f"{path}: cannot read the statistics (normalize.statistics): {error.strerror}") from error

    @classmethod
    def parse(cls, path: Path, content: bytes, *, sha256: str | None = None) -> tuple[Self, str]:
        """Return the statistics in a file's content and its SHA-256. Raises SpecError, also if that is not `sha256`."""
        digest = hashlib.sha256(content).hexdigest()
        if sha256 not in (None, digest):
            raise SpecError(f"{path} has SHA-256 {digest}, not {sha256} as in the spec: bring the same file here")
        try:
            return cls(**_parse(path, content)), digest
        except (ValueError, TypeError, OSError, KeyError) as error:
            raise SpecError(
                f"{path}: not statistics: {error}; Statistics.save writes such files ({', '.join(_NAMES)})"
            ) from error


def _mean(images: npt.NDArray[Any], center: Float64s, power: int) -> Float64s:
    """Return the mean of each channel's distance from `center`, to a power."""
    total = np.zeros(images.shape[3])
    for start in range(0, len(images), _IMAGES):
        total += ((images[start : start + _IMAGES].astype(np.float64) - center) ** power).sum(axis=(0, 1, 2))
    mean: Float64s = total / (images.size / images.shape[3])
    return mean


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    if path.suffix == ".json":
        found = json.loads(content)
    else:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found = dict(file)
    if not isinstance(found, dict) or set(found) - set(_NAMES) or not found:
        raise ValueError(f"it holds {sorted(found) if isinstance(found, dict) else type(found).__name__}")
    arrays = {name: np.asarray(values, np.float32 if name == "zca" else np.float64) for name, values in found.items()}
    for name, array in arrays.items():
        if name == "zca":
            if array.ndim != 2 or array.shape[0] != array.shape[1]:  # noqa: PLR2004 - a square matrix
                raise ValueError(f"zca has shape {array.shape}, and not (values, values)")
        else:
            arrays[name] = array.reshape(-1)  # Keras keeps it as (1, 1, channels)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    return arrays
