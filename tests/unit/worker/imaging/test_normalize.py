"""Normalisation in a worker: Keras's `standardize` and `fit`, folded into one step."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.imaging.normalizing import Pixels, noise, unchecked
from support.keras.images import generator

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.normalize import Normalize
from penstock.protocol.spec.statistics import Statistics
from penstock.worker.imaging.normalize import Normalizer

steps = st.fixed_dictionaries(
    {},
    optional={
        "rescale": st.sampled_from([0.0, 1 / 255, 2.0, -0.01]),
        "samplewise_center": st.booleans(),
        "samplewise_std_normalization": st.booleans(),
        "featurewise_center": st.booleans(),
        "featurewise_std_normalization": st.booleans(),
    },
)


def by_keras(images: Pixels, arguments: dict[str, Any], fit: Pixels | None = None) -> npt.NDArray[np.float32]:
    """Return what Keras's `standardize` makes of each image, in double precision, after `fit`."""
    keras = generator(**arguments, dtype="float64")
    if fit is not None:
        keras.fit(fit)
    result: npt.NDArray[np.float32] = np.stack([keras.standardize(image.astype(np.float64)) for image in images])
    return result


def fitted(images: Pixels, arguments: dict[str, Any], **more: Any) -> tuple[Normalize, Statistics]:
    """Return settings with the statistics of `images` in them, and the statistics."""
    plain = unchecked(**arguments)
    found = Statistics.fit(images, plain)
    numbers = {
        name: tuple(getattr(found, name).tolist()) for name in ("mean", "std") if getattr(found, name) is not None
    }
    return Normalize(**arguments, **numbers, **more), found


@pytest.mark.filterwarnings("ignore:This ImageDataGenerator specifies:UserWarning")  # that one step includes another
@settings(max_examples=60)
@given(seed=st.integers(0, 99), channels=st.sampled_from([1, 3]), arguments=steps)
def test_samples_are_standardised_as_by_keras(seed: int, channels: int, arguments: dict[str, Any]) -> None:
    """Every combination of steps, with the statistics that `fit` measures: within float32's rounding."""
    images = noise(seed, 9, 8, 11, channels)
    spec, _ = fitted(images, arguments)
    expected = by_keras(images, arguments, images)
    actual = Normalizer(spec, (8, 11, channels))(images)
    assert np.float32 == actual.dtype
    assert np.abs(expected - actual).max() <= 3e-6 * max(1.0, np.abs(expected).max())


@pytest.mark.filterwarnings("ignore:This ImageDataGenerator specifies:UserWarning")
@pytest.mark.parametrize("more", [{}, {"rescale": 1 / 255}, {"samplewise_std_normalization": True}])
def test_whitening_is_kerass(more: dict[str, Any]) -> None:
    """The matrix and what it makes of samples; singular vectors may differ in sign, their product does not."""
    images = noise(3, 120, 4, 5, 3)
    arguments = {"zca_whitening": True, "featurewise_std_normalization": True} | more
    found = Statistics.fit(images, unchecked(**arguments), zca_epsilon=1e-2)
    assert found.mean is not None
    assert found.std is None
    spec = unchecked(**arguments, mean=tuple(found.mean.tolist()))
    keras = generator(**arguments, zca_epsilon=1e-2, dtype="float64")
    keras.fit(images)
    expected = np.stack([keras.standardize(image.astype(np.float64)) for image in images])
    actual = Normalizer(spec, (4, 5, 3), found.zca)(images)
    assert np.abs(expected - actual).max() <= 1e-3 * np.abs(expected).max()
    if not more:  # what whitening means: the fitted samples' values are uncorrelated, of variance one
        flat = actual.reshape(120, -1)  # about the mean of each channel, which is what Keras subtracts
        covariance = flat.T @ flat / 120
        assert np.abs(covariance - np.eye(60)).max() < 0.02


def test_a_sample_without_contrast_stays_finite() -> None:
    """Its deviation is zero: 10^-6 is what it is divided by, and its own mean is exact."""
    spec = Normalize(samplewise_std_normalization=True, rescale=1 / 255)
    images = np.full((2, 7, 7, 3), 199, np.uint8)
    images[1, 3, 3] = 200
    result = Normalizer(spec, (7, 7, 3))(images)
    assert (result[0] == 0.0).all()
    assert np.isfinite(result).all()
    assert 1.0 == pytest.approx(result[1].std(), abs=3e-3)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("count", [1, 40])
def test_type_and_axes_are_those_of_the_spec(dtype: Any, count: int) -> None:
    """Channels first is the same numbers, transposed; float16 the same, rounded; in given memory or in new."""
    images = noise(1, count, 30, 20, 3)
    plain = Normalizer(Normalize(rescale=1 / 255, featurewise_center=True, mean=(0.1, 0.2, 0.3)), (30, 20, 3))(images)
    for axes in ("channels_last", "channels_first"):
        spec = Normalize(rescale=1 / 255, featurewise_center=True, mean=(0.1, 0.2, 0.3), dtype=dtype, data_format=axes)
        expected = (plain.transpose(0, 3, 1, 2) if axes == "channels_first" else plain).astype(dtype)
        normalizer = Normalizer(spec, (30, 20, 3))
        out = np.empty_like(expected)
        assert normalizer(images, out) is out
        for actual in (out, normalizer(images)):
            assert expected.dtype == actual.dtype
            assert np.array_equal(expected, actual)


def test_a_matrix_for_other_samples_is_refused() -> None:
    """ZCA mixes all values of a sample: its size is theirs."""
    spec = unchecked(zca_whitening=True, mean=(0.0,))
    for zca, words in ((None, "no matrix"), (np.eye(5, dtype=np.float32), "a matrix for 5 values")):
        with pytest.raises(SpecError, match=words):
            Normalizer(spec, (2, 2, 3), zca)
