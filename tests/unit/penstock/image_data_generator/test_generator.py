"""What `ImageDataGenerator` is told and does to single images; its iterators stand in `test_image_flows.py`."""

# ruff: noqa: NPY002 - numpy's global generator is what scripts for Keras seed

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import penstock
from penstock import ImageDataGenerator
from penstock.protocol.errors import ArgumentError, ArgumentTypeError, PenstockError

RNG = np.random.default_rng(5)
IMAGES = RNG.uniform(0.0, 255.0, (12, 8, 10, 3)).astype(np.float32)


def test_importing_penstock_imports_nothing_heavy() -> None:
    """The class is there for `from penstock import`, and neither numpy nor TensorFlow is loaded before it is used."""
    code = (
        "import sys, penstock\n"
        "assert not {'numpy', 'tensorflow', 'keras', 'cv2'} & set(sys.modules), sorted(sys.modules)\n"
        "from penstock import ImageDataGenerator\n"
        "ImageDataGenerator(rotation_range=5)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_names_of_the_package_stay_unknown() -> None:
    """The lazy name must not hide spelling mistakes."""
    with pytest.raises(AttributeError, match="ImageDataGenerater"):
        getattr(penstock, "ImageDataGenerater")  # noqa: B009 - no type has it


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data_format": "rows_first"}, "data_format = 'rows_first': give 'channels_last' or 'channels_first'"),
        ({"validation_split": 1.5}, "validation_split = 1.5"),
        ({"validation_split": -0.1}, "validation_split = -0.1"),
        ({"zoom_range": (0.5, 1.0, 2.0)}, r"zoom_range = \(0.5, 1.0, 2.0\): give two numbers"),
        ({"zoom_range": "a lot"}, "zoom_range = 'a lot'"),
        ({"brightness_range": 0.5}, "brightness_range = 0.5: give two numbers"),
        ({"brightness_range": (0.5,)}, r"brightness_range = \(0.5,\)"),
        ({"fill_mode": "mirror"}, "fill_mode = 'mirror'"),
        ({"interpolation_order": 7}, "interpolation_order = 7"),
        ({"rotation_range": float("nan")}, "rotation_range = nan"),
        ({"width_shift_range": -3}, "width_shift_range = -3"),
        ({"width_shift_range": []}, r"width_shift_range = \[\]"),
        ({"dtype": "uint8"}, "dtype = 'uint8': give a floating-point type"),
        ({"dtype": "float99"}, "dtype = 'float99'"),
        ({"rescale": "1/255"}, "rescale = '1/255': give a finite number, such as 1 / 255"),
        ({"rescale": float("nan")}, "rescale = nan"),
        ({"zca_epsilon": None}, "zca_epsilon = None"),
        ({"validation_split": "0.2"}, "validation_split = '0.2'"),
        ({"workers": -1}, "workers = -1: give a number of processes"),
        ({"workers": 1.5}, "workers = 1.5"),
        ({"workers": True}, "workers = True"),
    ],
)
def test_a_bad_argument_is_refused_with_its_value(arguments: dict[str, Any], words: str) -> None:
    """The error names the argument, quotes the value, and is both a ValueError (as in Keras) and a PenstockError."""
    with pytest.raises(ValueError, match=words) as caught:
        ImageDataGenerator(**arguments)
    assert isinstance(caught.value, PenstockError)


@pytest.mark.parametrize("function", [3, "sqrt", [np.sqrt]])
def test_what_is_no_function_is_refused_before_the_first_batch(function: Any) -> None:
    """A TypeError that quotes it."""
    with pytest.raises(ArgumentTypeError, match=re.escape(f"preprocessing_function = {function!r}: give a function")):
        ImageDataGenerator(preprocessing_function=function)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda generator: generator.apply_transform(IMAGES[0], None), "transform_parameters = None: give a dict"),
        (lambda generator: generator.apply_transform(IMAGES[0], [1]), r"transform_parameters = \[1\]"),
        (lambda generator: generator.apply_transform(IMAGES[0], {"tx": "a"}), r"transform_parameters\['tx'\] = 'a'"),
        (lambda generator: generator.apply_transform(IMAGES[0], {"zx": None}), r"transform_parameters\['zx'\] = None"),
        (lambda generator: generator.apply_transform(IMAGES[0], {"brightness": np.inf}), r"\['brightness'\] = inf"),
        (lambda generator: generator.apply_transform("cat.jpg", {}), "x = 'cat.jpg': give an array"),
        (lambda generator: generator.random_transform([[1.0], [1.0, 2.0]]), "cannot be made one array"),
        (lambda generator: generator.random_transform(IMAGES[0, 0]), r"rank 3, and this array has shape \(10, 3\)"),
        (lambda generator: generator.random_transform(IMAGES[0], seed="a"), "seed = 'a'"),
        (lambda generator: generator.random_transform(IMAGES[0], seed=-1), "seed = -1"),
        (lambda generator: generator.get_random_transform(5), "img_shape = 5"),
        (lambda generator: generator.get_random_transform(("a", 2, 3)), r"img_shape = \('a', 2, 3\)"),
        (lambda generator: generator.standardize(["a"]), "elements of type <U1"),
        (lambda generator: generator.fit("abc"), "x = 'abc': give an array"),
        (lambda generator: generator.fit(IMAGES, augment=True, rounds=1.5), "rounds = 1.5"),
    ],
)
def test_a_wrong_argument_of_a_method_is_refused_with_its_value(call: Any, words: str) -> None:
    """In our errors, which are ValueErrors or TypeErrors as well: never in numpy's or Python's own words."""
    with pytest.raises((ArgumentError, ArgumentTypeError), match=words):
        call(ImageDataGenerator(rotation_range=20))


def test_the_pool_of_the_older_fork_is_refused_with_a_hint() -> None:
    """`pool=` was how the multiprocess fork was told; the error names what to give instead, in every place."""
    hint = "give workers = N instead"
    with pytest.raises(ArgumentTypeError, match=hint):
        ImageDataGenerator(pool=object())
    with pytest.raises(TypeError, match=hint):
        ImageDataGenerator().flow(IMAGES, pool=object())
    with pytest.raises(TypeError, match=hint):
        ImageDataGenerator().flow_from_directory(".", pool=object())


def test_arguments_imply_others_and_say_so() -> None:
    """Whitening and deviations need the mean: it is switched on with a warning, as in Keras."""
    with pytest.warns(UserWarning, match="zca_whitening = True sets featurewise_center = True"):
        assert ImageDataGenerator(zca_whitening=True).featurewise_center
    with pytest.warns(UserWarning, match="featurewise_std_normalization = False"):
        both = ImageDataGenerator(featurewise_center=True, zca_whitening=True, featurewise_std_normalization=True)
    assert not both.featurewise_std_normalization
    with pytest.warns(UserWarning, match="sets featurewise_center"):
        assert ImageDataGenerator(featurewise_std_normalization=True).featurewise_center
    with pytest.warns(UserWarning, match="sets samplewise_center"):
        assert ImageDataGenerator(samplewise_std_normalization=True).samplewise_center


@pytest.mark.parametrize(
    ("given", "kept"), [(0.2, [0.8, 1.2]), ((0.5, 2.0), [0.5, 2.0]), (np.float32(0.5), [0.5, 1.5])]
)
def test_zoom_is_kept_as_lowest_and_highest(given: Any, kept: list[float]) -> None:
    """Scripts read `zoom_range` back as a pair."""
    assert kept == ImageDataGenerator(zoom_range=given).zoom_range


@pytest.mark.parametrize("shift", [0.2, 3, [1, 2, 5], (0.1, 0.2), np.array([1.0, 4.0]), np.float64(0.1), np.int64(4)])
def test_a_shift_may_be_a_fraction_pixels_or_a_list(shift: Any) -> None:
    """All that Keras takes is taken, numpy's numbers and arrays included."""
    generator = ImageDataGenerator(width_shift_range=shift, height_shift_range=shift)
    drawn = generator.get_random_transform((100, 50, 3), seed=1)
    assert abs(drawn["tx"]) <= 20
    assert abs(drawn["ty"]) <= 10


def test_random_parameters_follow_from_the_seed() -> None:
    """A seed repeats the parameters without touching numpy's global generator; without one, that is drawn from."""
    generator = ImageDataGenerator(rotation_range=40, zoom_range=0.3, horizontal_flip=True)
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    assert generator.get_random_transform((8, 10, 3), seed=3) == generator.get_random_transform((8, 10, 3), seed=3)
    assert generator.get_random_transform((8, 10, 3), seed=3) != generator.get_random_transform((8, 10, 3), seed=4)
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[index]
    np.random.seed(7)
    first = generator.get_random_transform((8, 10, 3))
    assert first != generator.get_random_transform((8, 10, 3))
    np.random.seed(7)
    assert first == generator.get_random_transform((8, 10, 3))


def test_parameters_have_the_names_and_ranges_of_keras() -> None:
    """What the dict holds, and that what was not asked for changes nothing."""
    still = ImageDataGenerator().get_random_transform((8, 10, 3))
    assert {"theta": 0, "tx": 0, "ty": 0, "shear": 0, "zx": 1, "zy": 1} == {
        name: still[name] for name in ("theta", "tx", "ty", "shear", "zx", "zy")
    }
    assert still["channel_shift_intensity"] is None
    assert still["brightness"] is None
    assert not still["flip_horizontal"]
    assert not still["flip_vertical"]
    wild = ImageDataGenerator(brightness_range=(0.5, 0.6), channel_shift_range=9.0, rotation_range=10)
    for seed in range(20):
        drawn = wild.get_random_transform((8, 10, 3), seed=seed)
        assert 0.5 <= drawn["brightness"] <= 0.6
        assert -9 <= drawn["channel_shift_intensity"] <= 9
        assert -10 <= drawn["theta"] <= 10


def test_a_random_transform_is_its_parameters_applied() -> None:
    """`random_transform` with a seed is `apply_transform` of `get_random_transform` with that seed."""
    generator = ImageDataGenerator(rotation_range=40, shear_range=10, vertical_flip=True)
    parameters = generator.get_random_transform(IMAGES[0].shape, seed=9)
    expected = generator.apply_transform(IMAGES[0], parameters)
    result = generator.random_transform(IMAGES[0], seed=9)
    assert np.array_equal(expected, result)
    assert IMAGES[0].shape == result.shape
    assert np.float32 == result.dtype
    assert not np.array_equal(IMAGES[0], result)


def test_a_transform_leaves_its_input_alone_and_keeps_the_type() -> None:
    """uint8 stays uint8, and the array given is not written to."""
    generator = ImageDataGenerator(horizontal_flip=True)
    image = RNG.integers(0, 256, (8, 10, 3), np.uint8)
    before = image.copy()
    result = generator.apply_transform(image, {"flip_horizontal": True})
    assert np.array_equal(before[:, ::-1], result)
    assert np.array_equal(before, image)
    assert np.uint8 == result.dtype


def test_channels_may_come_first() -> None:
    """With `channels_first`, the same change is made to the same picture."""
    last, first = (
        ImageDataGenerator(rotation_range=30),
        ImageDataGenerator(rotation_range=30, data_format="channels_first"),
    )
    moved = np.moveaxis(IMAGES[0], -1, 0)
    parameters = last.get_random_transform(IMAGES[0].shape, seed=2)
    assert parameters == first.get_random_transform(moved.shape, seed=2)
    expected = np.moveaxis(last.apply_transform(IMAGES[0], parameters), -1, 0)
    assert np.array_equal(expected, first.apply_transform(moved, parameters))


def test_an_image_of_another_rank_is_refused() -> None:
    """A batch given for an image is an error that shows the shape."""
    with pytest.raises(ArgumentError, match=r"shape \(12, 8, 10, 3\)"):
        ImageDataGenerator().apply_transform(IMAGES, {})


def test_standardize_works_in_place_on_floats_and_takes_whole_numbers() -> None:
    """Scripts rely on the first; the second saves them from numpy's refusal to divide whole numbers in place."""
    generator = ImageDataGenerator(rescale=0.5)
    image = IMAGES[0].copy()
    assert image is generator.standardize(image)
    assert np.array_equal(IMAGES[0] * 0.5, image)
    assert np.array_equal([[[1.0]]], generator.standardize(np.array([[[2]]], np.uint8)))


def test_what_was_not_fitted_is_warned_of_and_left_out() -> None:
    """Featurewise statistics that are missing change nothing, with a warning that names the argument."""
    generator = ImageDataGenerator(featurewise_center=True)
    with pytest.warns(UserWarning, match=r"featurewise_center is set.*call fit\(x\)"):
        assert np.array_equal(IMAGES[0], generator.standardize(IMAGES[0].copy()))


def test_statistics_may_be_set_by_hand() -> None:
    """Scripts for ImageNet set `mean` to three numbers instead of calling `fit`."""
    generator = ImageDataGenerator(featurewise_center=True)
    generator.mean = [100.0, 110.0, 120.0]
    expected = IMAGES[0] - np.array([100.0, 110.0, 120.0], np.float32)
    assert np.allclose(expected, generator.standardize(IMAGES[0].copy()))


def test_fitted_images_have_mean_zero_and_deviation_one() -> None:
    """Per channel, population statistics over all images, after rescaling."""
    generator = ImageDataGenerator(featurewise_center=True, featurewise_std_normalization=True, rescale=1 / 255)
    before = IMAGES.copy()
    generator.fit(IMAGES)
    assert np.array_equal(before, IMAGES)
    assert (1, 1, 3) == generator.mean.shape == generator.std.shape
    result = generator.standardize(IMAGES.copy())
    assert np.allclose(0.0, result.mean(axis=(0, 1, 2)), atol=1e-5)
    assert np.allclose(1.0, result.std(axis=(0, 1, 2)), atol=1e-3)


def test_whitened_images_are_uncorrelated() -> None:
    """ZCA: over the training images, every value has variance one and is uncorrelated with every other."""
    images = RNG.normal(0.0, 1.0, (400, 3, 3, 1)).astype(np.float32)
    images[:, 1] += 0.7 * images[:, 0]
    generator = ImageDataGenerator(featurewise_center=True, zca_whitening=True)
    generator.fit(images)
    flat = generator.standardize(images.copy()).reshape(400, 9)
    # Centring is per channel, not per value: the small means left are within whitening's reach.
    assert np.allclose(np.eye(9), flat.T @ flat / 400, atol=1e-3)


def test_fitting_on_changed_images_follows_from_the_seed() -> None:
    """`augment` takes the statistics of `rounds` random changes of each image; a seed repeats them."""

    def fitted(**arguments: Any) -> Any:
        generator = ImageDataGenerator(featurewise_center=True, rotation_range=90, fill_mode="constant")
        generator.fit(IMAGES, **arguments)
        return generator.mean

    assert np.array_equal(fitted(augment=True, rounds=2, seed=1), fitted(augment=True, rounds=2, seed=1))
    assert not np.array_equal(fitted(augment=True, rounds=2, seed=1), fitted(augment=True, rounds=2, seed=2))
    assert not np.array_equal(fitted(), fitted(augment=True, seed=1))
    with pytest.raises(ArgumentError, match="rounds = 0"):
        fitted(augment=True, rounds=0)


def test_fit_refuses_other_ranks_and_warns_of_odd_channels() -> None:
    """Rank 4 is needed; five channels are suspicious but possible."""
    generator = ImageDataGenerator(featurewise_center=True)
    with pytest.raises(ValueError, match=r"rank 4.*\(8, 10, 3\)"):
        generator.fit(IMAGES[0])
    with pytest.warns(UserWarning, match="5 channels"):
        generator.fit(np.zeros((2, 4, 4, 5)))
