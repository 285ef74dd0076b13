"""Arrays, statistics and random changes compared with Keras's own `ImageDataGenerator`."""

from typing import Any

import numpy as np
import pytest
from support.keras.compared import IMAGES, LABELS, both, same

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "given",
    [
        {"x": IMAGES},
        {"x": IMAGES, "y": LABELS},
        {"x": (IMAGES, [LABELS, LABELS * 2.0]), "y": LABELS},
        {"x": IMAGES, "y": LABELS, "sample_weight": LABELS / 3},
        {"x": IMAGES, "y": LABELS, "subset": "training"},
    ],
    ids=["images", "labels", "inputs", "weights", "subset"],
)
def test_unchanged_batches_of_arrays_are_keras_s(given: dict[str, Any]) -> None:
    """Labels, weights and further inputs."""
    theirs, ours = both(
        rescale=1 / 255, samplewise_center=True, samplewise_std_normalization=True, validation_split=0.25
    )
    expected, iterator = (each.flow(**given, shuffle=False, batch_size=5) for each in (theirs, ours))
    assert len(expected) == len(iterator)
    for _ in range(5):
        same(next(expected), next(iterator))
        assert expected.batch_index == iterator.batch_index
        assert expected.total_batches_seen == iterator.total_batches_seen
    expected.reset()
    iterator.reset()
    same(next(expected), next(iterator))


@pytest.mark.parametrize(
    "arguments",
    [
        {"rescale": 1 / 255},
        {"samplewise_center": True},
        {"samplewise_std_normalization": True, "rescale": 2.0},
        {"featurewise_center": True},
        {"featurewise_std_normalization": True, "rescale": 1 / 255},
        {"zca_whitening": True, "rescale": 1 / 255, "zca_epsilon": 1e-3},
        {"preprocessing_function": np.sqrt, "featurewise_center": True, "samplewise_center": True},
        {"featurewise_std_normalization": True, "data_format": "channels_first"},
    ],
    ids=str,
)
def test_statistics_and_normalisation_are_keras_s(arguments: dict[str, Any]) -> None:
    """`fit` and `standardize`, of single images and of batches, and what an iterator makes of them."""
    images = np.moveaxis(IMAGES, -1, 1) if "data_format" in arguments else IMAGES
    theirs, ours = both(**arguments)
    for generator in (theirs, ours):
        generator.fit(images)
    for name in ("mean", "std", "zca_whitening_matrix"):
        expected, actual = getattr(theirs, name), getattr(ours, name)
        assert (expected is None) == (actual is None)
        if expected is not None:
            assert expected.shape == actual.shape
            assert np.allclose(expected, actual, rtol=1e-4, atol=1e-5)
    for x in (images[0], images):
        assert np.allclose(theirs.standardize(x.copy()), ours.standardize(x.copy()), rtol=1e-4, atol=1e-4)
    batches = [next(generator.flow(images, shuffle=False, batch_size=4)) for generator in (theirs, ours)]
    assert np.allclose(batches[0], batches[1], rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")  # Keras uses an old name
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("fill", ["nearest", "constant", "reflect", "wrap"])
def test_given_parameters_change_an_image_as_in_keras(order: int, fill: str) -> None:
    """`apply_transform` with what either class drew; floats are interpolated at full precision.

    Nearest sampling may round a coordinate that falls between two pixels the other way: a few pixels in a thousand.
    """
    theirs, ours = both(
        rotation_range=40,
        width_shift_range=0.2,
        height_shift_range=0.1,
        shear_range=15,
        zoom_range=0.3,
        channel_shift_range=20.0,
        horizontal_flip=True,
        vertical_flip=True,
        fill_mode=fill,
        cval=7.0,
        interpolation_order=order,
    )
    for seed, image in enumerate(IMAGES):
        parameters = (theirs if seed % 2 else ours).get_random_transform(image.shape, seed=seed)
        difference = np.abs(theirs.apply_transform(image.copy(), parameters) - ours.apply_transform(image, parameters))
        if order:
            # At its edge, "constant" and "wrap" jump; SciPy and float32 may see a coordinate on either side of it.
            assert (difference > 0.1).mean() < (0.02 if fill in ("constant", "wrap") else 1e-9)
        else:
            assert (difference > 0).mean() < 0.01


#: One way to ask for each change, and to leave it out.
CHOICES: dict[str, list[Any]] = {
    "rotation_range": [0, 40, 12.5],
    "width_shift_range": [0.0, 0.2, 5, 3.5, [1, 4, 6], (0.1, 0.3)],
    "height_shift_range": [0.0, 0.1, 1, 2, [7], [0.5, 0.25, 0.125]],
    "shear_range": [0.0, 15],
    "zoom_range": [0.0, 0.3, (0.5, 0.9)],
    "channel_shift_range": [0.0, 20.0],
    "horizontal_flip": [False, True],
    "vertical_flip": [False, True],
    "brightness_range": [None, (0.2, 0.7)],
}


def test_a_seed_draws_what_it_draws_in_keras() -> None:
    """Every parameter, for many settings: after flips that were not asked for, too, which Keras draws all the same."""
    for number in range(200):
        rng = np.random.default_rng(number)
        theirs, ours = both(**{name: values[rng.integers(len(values))] for name, values in CHOICES.items()})
        for seed in (0, number, 2**32 - 1, None):
            np.random.seed(number)  # noqa: NPY002 - what scripts seed
            expected = theirs.get_random_transform((50, 60, 3), seed=seed)
            np.random.seed(number)  # noqa: NPY002
            actual = ours.get_random_transform((50, 60, 3), seed=seed)
            assert expected.keys() == actual.keys()
            for name, value in expected.items():
                assert (value is None) == (actual[name] is None), name
                assert value is None or np.isclose(value, actual[name], rtol=1e-12, atol=1e-12), name


@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")  # Keras uses an old name
def test_statistics_of_changed_images_are_keras_s() -> None:
    """`fit(augment=True)` with a seed draws what Keras draws, round by round and image by image."""
    geometry: dict[str, Any] = {"width_shift_range": 0.3, "height_shift_range": [2], "shear_range": 9}
    theirs, ours = both(featurewise_std_normalization=True, **geometry)
    for generator in (theirs, ours):
        generator.fit(IMAGES, augment=True, rounds=3, seed=4)
    assert np.allclose(theirs.mean, ours.mean, rtol=1e-5)
    assert np.allclose(theirs.std, ours.std, rtol=1e-5)


def test_drawn_parameters_are_distributed_as_in_keras() -> None:
    """Each parameter's lowest, mean and highest value over many draws, and what is never drawn."""
    theirs, ours = both(
        rotation_range=40,
        width_shift_range=[1, 4],
        height_shift_range=0.1,
        shear_range=15,
        zoom_range=(0.5, 0.9),
        channel_shift_range=20.0,
        horizontal_flip=True,
        brightness_range=(0.2, 0.7),
    )
    count = 4000
    expected, actual = (
        [generator.get_random_transform((50, 60, 3)) for _ in range(count)] for generator in (theirs, ours)
    )
    assert expected[0].keys() == actual[0].keys()
    for name in expected[0]:
        one, other = (np.array([drawn[name] for drawn in draws], np.float64) for draws in (expected, actual))
        spread = one.max() - one.min()
        for statistic in (np.min, np.mean, np.max):
            assert abs(statistic(one) - statistic(other)) <= 0.05 * spread, name
