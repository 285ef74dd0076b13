"""What `ImageDataGenerator`'s three `flow` methods return, made in this process: arguments, batches, labels, order."""

import multiprocessing
import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from support.images import encode, picture, write_images

from penstock import ImageDataGenerator
from penstock.protocol.errors import ArgumentError, FailureBudgetError, PenstockError

RNG = np.random.default_rng(8)
IMAGES = RNG.integers(0, 256, (10, 12, 14, 3), np.uint8)
LABELS = np.arange(10)
#: Changes of every kind.
WILD: dict[str, Any] = {
    "rotation_range": 30,
    "width_shift_range": 0.2,
    "height_shift_range": [1, 2],
    "zoom_range": 0.2,
    "shear_range": 5,
    "horizontal_flip": True,
    "vertical_flip": True,
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with 4 pictures of each of 2 classes."""
    write_images(tmp_path / "photos", ("cat", "dog"), 4)
    return tmp_path / "photos"


@pytest.fixture
def frame(photos: Path) -> pd.DataFrame:
    """Return a DataFrame that names those pictures."""
    names = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.jpg"))
    return pd.DataFrame({"filename": names, "class": [name[:3] for name in names], "weight": np.arange(8) / 8})


def flow(x: Any = IMAGES, y: Any = LABELS, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
    """Return an iterator over arrays."""
    options: dict[str, Any] = {"batch_size": 4, "seed": 1, **more}
    x, y = options.pop("x", x), options.pop("y", y)
    return ImageDataGenerator(**(arguments or {})).flow(x, y, **options)


# Arrays


def test_batches_go_on_for_ever_and_cover_each_epoch_once() -> None:
    """Ten samples in batches of four: three batches an epoch, the last of two; every epoch in another order."""
    iterator = flow()
    assert 3 == len(iterator)
    labels = [next(iterator)[1] for _ in range(9)]
    assert [4, 4, 2] * 3 == [len(batch) for batch in labels]
    epochs = [np.concatenate(labels[start : start + 3]) for start in (0, 3, 6)]
    assert all(np.array_equal(LABELS, np.sort(epoch)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert 9 == iterator.total_batches_seen


def test_images_stay_with_their_labels_weights_and_other_inputs() -> None:
    """All that is given is cut in the same order, whatever its shape and type."""
    names = np.array([f"picture {index}" for index in range(10)])
    more = RNG.normal(size=(10, 2, 2))
    iterator = flow((IMAGES, [names, more]), y=more[:, 0], sample_weight=LABELS / 10.0)
    for _ in range(4):
        (images, name, other), y, weights = next(iterator)
        for row, image in enumerate(images):
            item = int(name[row].removeprefix("picture "))
            assert np.array_equal(IMAGES[item], image)
            assert np.array_equal(more[item], other[row])
            assert np.array_equal(more[item, 0], y[row])
            assert item / 10.0 == weights[row]


def test_without_labels_a_batch_is_the_images_alone() -> None:
    """As in Keras, weights without labels are left out."""
    batch = next(flow(y=None, sample_weight=LABELS))
    assert (4, 12, 14, 3) == batch.shape
    assert np.float32 == batch.dtype


def test_without_shuffling_the_order_is_the_array_s() -> None:
    """Every epoch alike."""
    iterator = flow(shuffle=False)
    for _ in range(2):
        assert [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] == [label for _ in range(3) for label in next(iterator)[1]]


def test_a_seed_repeats_the_run_and_numpy_s_global_seed_does_too() -> None:
    """Order and changes follow from `seed`; without one, from the global generator that scripts seed."""

    def run(**arguments: Any) -> Any:
        iterator = flow(arguments=WILD, **arguments)
        return np.concatenate([next(iterator)[0] for _ in range(6)])

    assert np.array_equal(run(seed=3), run(seed=3))
    assert not np.array_equal(run(seed=3), run(seed=4))
    np.random.seed(1)  # noqa: NPY002 - what scripts for Keras do
    first = run(seed=None)
    assert not np.array_equal(first, run(seed=None))
    np.random.seed(1)  # noqa: NPY002
    assert np.array_equal(first, run(seed=None))


def test_an_epoch_changes_images_in_another_way() -> None:
    """The same sample is drawn for anew in each epoch."""
    iterator = flow(shuffle=False, arguments=WILD)
    first = [next(iterator)[0] for _ in range(3)]
    assert not np.array_equal(first[0], next(iterator)[0])


def test_indexing_gives_the_batches_of_the_current_epoch() -> None:
    """What `next` gives, in any order and again; `on_epoch_end` begins a new epoch."""
    iterator, other = flow(arguments=WILD), flow(arguments=WILD)
    expected = [next(other) for _ in range(6)]
    for index in (2, 0, 1, 0, -1):
        assert np.array_equal(expected[index % 3][0], iterator[index][0])
        assert np.array_equal(expected[index % 3][1], iterator[index][1])
    iterator.on_epoch_end()
    assert np.array_equal(expected[4][0], iterator[1][0])


@pytest.mark.parametrize(
    ("index", "error"), [(3, ValueError), (99, ValueError), ("1", TypeError), (slice(0, 2), TypeError)]
)
def test_a_batch_that_is_not_there_is_refused(index: Any, error: type[Exception]) -> None:
    """The value is quoted."""
    with pytest.raises(error, match="was asked for") as caught:
        flow()[index]
    assert repr(index) in str(caught.value)
    assert isinstance(caught.value, PenstockError)


def test_reset_begins_a_new_epoch_at_its_first_batch() -> None:
    """`batch_index` says which batch is next; without shuffling, the order begins again."""
    iterator = flow(shuffle=False)
    next(iterator)
    assert 1 == iterator.batch_index
    iterator.reset()
    assert 0 == iterator.batch_index
    assert [0, 1, 2, 3] == next(iterator)[1].tolist()


def test_an_iterator_has_keras_s_attributes(tmp_path: Path) -> None:
    """Where pictures are saved, and the lock that scripts hold while they take the samples of the next batch."""
    iterator = flow(save_to_dir=tmp_path, save_prefix="try", save_format="jpeg")
    assert (tmp_path, "try", "jpeg") == (iterator.save_to_dir, iterator.save_prefix, iterator.save_format)
    assert (None, "", "png") == (flow().save_to_dir, flow().save_prefix, flow().save_format)
    with iterator.lock:
        assert 4 == len(next(iterator.index_generator))
    assert "jpg" in iterator.white_list_formats


def test_the_index_array_is_the_order_of_the_epoch() -> None:
    """Scripts read it to find out which samples a batch holds."""
    iterator = flow()
    order = iterator.index_array
    assert np.array_equal(order[:4], next(iterator)[1])
    assert np.array_equal(LABELS, np.sort(order))


def test_the_names_of_keras_2_are_there() -> None:
    """`iterator.next()`, and `index_generator`, from which scripts take the samples of the next batch."""
    iterator, expected = flow(), flow()
    assert np.array_equal(next(expected)[1], iterator.next()[1])
    assert np.array_equal(next(expected)[1], next(iterator.index_generator))
    assert np.array_equal(next(expected)[1], iterator.next()[1])
    assert 3 == iterator.total_batches_seen


def test_two_iterators_with_one_seed_stay_in_step() -> None:
    """Images and masks: the same order and the same geometry, though only the images change their levels.

    The masks are given as floats, the images as bytes.
    """
    masks = (IMAGES[..., :1] > 127).astype(np.float32)
    bright = ImageDataGenerator(**WILD, brightness_range=(0.9, 0.9), fill_mode="constant")
    plain = ImageDataGenerator(**WILD, fill_mode="constant")
    spread = np.repeat(masks, 3, axis=3)
    images = bright.flow((spread * 255).astype(np.uint8), LABELS, batch_size=4, seed=6)
    pairs = zip(images, plain.flow(masks, LABELS, batch_size=4, seed=6), strict=True)
    for _ in range(6):
        (image, one), (mask, other) = next(pairs)
        assert np.array_equal(one, other)
        assert np.abs(image / 255 / 0.9 - mask).max() < 0.02


@pytest.mark.parametrize("factor", [1.0, 1 / 255])
def test_floats_that_hold_bytes_give_what_bytes_give(factor: float) -> None:
    """x, x as floats and x / 255 are the same images: they travel as bytes, and come out the same."""
    expected, iterator = flow(arguments=WILD), flow(IMAGES.astype(np.float32) * np.float32(factor), arguments=WILD)
    for _ in range(4):
        assert np.allclose(next(expected)[0] * factor, next(iterator)[0], rtol=1e-6)


def test_other_floats_are_changed_at_full_precision() -> None:
    """Standardised images do not lose their fractions: up to interpolation, they are changed as bytes are."""
    smooth = np.stack([picture(index, index, 40, 48) for index in range(6)])
    expected = flow(smooth, LABELS[:6], arguments=WILD)
    iterator = flow(smooth / 64.0 - 2.0, LABELS[:6], arguments=WILD)
    for _ in range(3):
        # Half a level of rounding, and 1/256 pixel of place times the steepest slope.
        assert np.abs(next(expected)[0] - (next(iterator)[0] + 2.0) * 64.0).max() < 1.6


def test_masks_of_few_levels_keep_their_fractions() -> None:
    """A mask of zeros and ones, turned, has soft edges, whatever type it was given as."""
    mask = (picture(1, 0, 40, 48)[np.newaxis, ..., :1] > 127).astype(np.uint8)
    for given in (mask, mask.astype(bool), mask.astype(np.float64)):
        batch = next(flow(given, None, arguments={"rotation_range": 45}))
        assert len(np.unique(batch)) > 50
        assert batch.max() <= 1.0


def test_channels_may_come_first() -> None:
    """The same pictures, with the axes where the generator was told they are."""
    last = flow(arguments=WILD)
    first = flow(np.moveaxis(IMAGES, -1, 1), arguments={**WILD, "data_format": "channels_first"})
    for _ in range(3):
        assert np.array_equal(np.moveaxis(next(last)[0], -1, 1), next(first)[0])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_number_of_channels_can_be_changed(channels: int) -> None:
    """Workers know one and three; the others are changed in this process. Two are warned of, as in Keras."""
    images = RNG.integers(0, 256, (6, 12, 14, channels), np.uint8)
    generator = ImageDataGenerator(**WILD)
    if channels == 2:
        with pytest.warns(UserWarning, match="2 channels"):
            iterator = generator.flow(images, seed=1)
    else:
        iterator = generator.flow(images, seed=1)
    batch = next(iterator)
    assert images.shape == batch.shape
    assert not np.array_equal(np.sort(images.ravel()), np.sort(batch.ravel()))


def test_images_are_normalised_one_by_one() -> None:
    """`preprocessing_function` gets single images as floats; samplewise statistics are each image's own."""
    seen: list[tuple[int, ...]] = []

    def halve(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        assert np.float32 == image.dtype
        seen.append(image.shape)
        return image / 2

    arguments = {"preprocessing_function": halve, "rescale": 2.0, "samplewise_center": True}
    images, labels = next(flow(arguments=arguments))
    assert [(12, 14, 3)] * 4 == seen
    for image, label in zip(images, labels, strict=True):
        assert np.allclose(IMAGES[label] - IMAGES[label].mean(), image, atol=1e-3)


def test_a_function_that_changes_the_shape_is_refused() -> None:
    """The error says both shapes."""
    with pytest.raises(ArgumentError, match=r"shape \(6, 14, 3\) for an image of shape \(12, 14, 3\)"):
        next(flow(arguments={"preprocessing_function": lambda image: image[::2]}))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", np.float64])
def test_batches_have_the_generator_s_type(dtype: Any) -> None:
    """Images and one-hot labels."""
    assert np.dtype(dtype) == next(flow(arguments={"dtype": dtype, "rescale": 1 / 255, **WILD}))[0].dtype


def test_statistics_set_after_the_iterator_was_made_are_used() -> None:
    """Scripts call `flow` and `fit` in any order."""
    generator = ImageDataGenerator(featurewise_center=True)
    iterator = generator.flow(IMAGES, LABELS, seed=1)
    generator.fit(IMAGES)
    assert np.abs(next(iterator)[0].mean(axis=(0, 1, 2))).max() < 1e-3


def test_a_subset_is_the_first_or_the_last_part() -> None:
    """`validation` is the first fraction of the array, `training` the rest."""
    validation, training = (
        flow(shuffle=False, subset=subset, arguments={"validation_split": 0.3}, ignore_class_split=True, batch_size=10)
        for subset in ("validation", "training")
    )
    assert [0, 1, 2] == next(validation)[1].tolist()
    assert [3, 4, 5, 6, 7, 8, 9] == next(training)[1].tolist()
    assert (3, 7) == (validation.n, training.samples)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, "batch_size = 0"),
        ({"batch_size": 2.5}, "batch_size = 2.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**63}, f"seed = {2**63}: give at most"),
        ({"seed": 0.5}, "seed = 0.5"),
        ({"subset": "test"}, "subset = 'test'"),
        ({"subset": "training"}, "Training and validation subsets have different number of classes after the split"),
        ({"y": LABELS[:3]}, r"`x` \(images tensor\) and `y` \(labels\) should .*10 images .*\(3,\)"),
        ({"sample_weight": LABELS[:4]}, r"`sample_weight` should have the same length.*\(4,\)"),
        ({"x": (IMAGES, LABELS[:5])}, r"All of the arrays in `x` should have the same length.*\(5,\)"),
        ({"x": (IMAGES, LABELS, LABELS)}, "tuple of 3 entries"),
        ({"x": IMAGES[0], "y": None}, r"rank 4.*\(12, 14, 3\)"),
        ({"workers": -2}, "workers = -2"),
    ],
)
def test_a_bad_argument_of_flow_is_refused_with_its_value(arguments: dict[str, Any], words: str) -> None:
    """A ValueError, as in Keras, that quotes the value."""
    with pytest.raises(ValueError, match=words) as caught:
        flow(arguments={"validation_split": 0.5}, **arguments)
    assert isinstance(caught.value, PenstockError)


def test_text_instead_of_images_is_refused() -> None:
    """With its type."""
    with pytest.raises(TypeError, match="elements of type <U1"):
        flow(np.array([["a"]]), None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": 5}, "x = 5: give an array"),
        ({"y": 5}, "y = 5: give an array"),
        ({"y": {"a": LABELS}}, r"y = \{'a': array"),
        ({"sample_weight": 0.5}, "sample_weight = 0.5: give an array"),
        ({"y": [[1], [2, 3]]}, r"y = \[\[1\], \[2, 3\]\] cannot be made one array"),
        ({"x": (IMAGES, 5)}, r"x\[1\] = 5: give an array"),
    ],
)
def test_what_is_no_array_is_refused_with_its_value(arguments: dict[str, Any], words: str) -> None:
    """In our words and error types."""
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        flow(**arguments)
    assert isinstance(caught.value, PenstockError)


@pytest.mark.parametrize("cval", [0, 51.0, 255, -1, 300, 127.5])
@pytest.mark.parametrize("kind", ["uint8", "float32", "divided by 255"])
def test_what_lies_outside_is_filled_with_the_very_value(cval: float, kind: str) -> None:
    """Keras fills with any value; 8 bits hold only whole levels of 0 to 255, so others take the floating-point way."""
    divisor = 255 if kind.startswith("divided") else 1
    images = (IMAGES / divisor).astype(np.float32) if kind != "uint8" else IMAGES
    filled = np.float32(cval / divisor)
    arguments = {"width_shift_range": [5], "fill_mode": "constant", "cval": cval / divisor}
    batch = next(flow(images, arguments=arguments, batch_size=10))[0]
    assert np.allclose(filled, batch[np.abs(batch - filled) < 0.4 / divisor], rtol=1e-6)
    outside = [np.isclose(image, filled, rtol=1e-6).all(axis=(1, 2)).sum() for image in batch]  # axes as in Keras 3
    assert [5] * 10 == outside


def test_a_value_outside_that_is_never_seen_changes_nothing() -> None:
    """Without `constant`, or without a warp, `cval` means nothing: workers still make the images."""
    still = {"horizontal_flip": True, "fill_mode": "constant", "cval": 0.5}
    for arguments in ({"rotation_range": 9, "cval": -1}, still):
        assert 2 == flow(arguments=arguments, workers=2).worker_processes


def test_a_subclass_s_own_changes_and_normalisation_are_used() -> None:
    """Scripts override `apply_transform`, `get_random_transform` and `standardize`: no worker may bypass them."""

    class Own(ImageDataGenerator):
        def get_random_transform(self, img_shape: tuple[int, ...], seed: int | None = None) -> dict[str, Any]:
            assert (12, 14, 3) == img_shape
            return {"level": np.random.RandomState(seed).randint(1, 100)}

        def apply_transform(self, x: npt.NDArray[Any], transform_parameters: Any) -> npt.NDArray[Any]:
            return np.full_like(x, transform_parameters["level"])

        def standardize(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return -x

    one, other = (Own().flow(IMAGES, LABELS, seed=2, workers=workers) for workers in (0, 2))
    for _ in range(4):
        images = next(one)[0]
        assert np.array_equal(images, next(other)[0])
        levels = images[:, 0, 0, 0]
        assert len(set(levels.tolist())) > 1
        assert (images == levels[:, np.newaxis, np.newaxis, np.newaxis]).all()
        assert (-99 <= levels).all()
        assert (levels <= -1).all()


def test_pictures_are_saved_as_they_are_yielded(tmp_path: Path) -> None:
    """`{prefix}_{sample}_{number}.{format}`; levels from black to white; a repeated run writes the same."""
    iterator = flow(save_to_dir=tmp_path, save_prefix="try", save_format="png", arguments={"rescale": 1 / 255})
    images, labels = next(iterator)
    files = sorted(tmp_path.iterdir())
    assert sorted(f"try_{label}" for label in labels) == sorted(file.name.rpartition("_")[0] for file in files)
    saved = {int(file.name.split("_")[1]): np.asarray(Image.open(file), np.float64) for file in files}
    for image, label in zip(images, labels, strict=True):
        levels = (image - image.min()) / (image.max() - image.min()) * 255.0
        assert np.abs(levels - saved[label]).max() < 1.001
    next(flow(save_to_dir=tmp_path, save_prefix="try"))
    assert files == sorted(tmp_path.iterdir())


def test_a_folder_for_pictures_must_be_there(tmp_path: Path) -> None:
    """A mistake in the name, or a format that nobody can write, is found before hours of training."""
    with pytest.raises(FileNotFoundError, match=r"save_to_dir = .*nowhere"):
        flow(save_to_dir=tmp_path / "nowhere")
    with pytest.raises(TypeError, match="save_to_dir = 5: give the path of a folder"):
        flow(save_to_dir=5)
    for unknown in ("wmv", "", 5, "psd"):
        with pytest.raises(ArgumentError, match=f"save_format = {unknown!r}"):
            flow(save_to_dir=tmp_path, save_format=unknown)


# Folders


def folder(place: Path, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
    """Return an iterator over a folder a class."""
    generator = ImageDataGenerator(**(arguments or {}))
    options: dict[str, Any] = {"target_size": (24, 32), "batch_size": 3, "seed": 1, **more}
    return generator.flow_from_directory(place, **options)


def test_an_iterator_over_a_folder_shows_what_it_found(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, classes and sizes under Keras's names, and the line that Keras prints."""
    iterator = folder(photos)
    assert "Found 8 images belonging to 2 classes.\n" == capsys.readouterr().out
    assert {"cat": 0, "dog": 1} == iterator.class_indices
    assert [f"{name}/0000{index}.jpg" for name in ("cat", "dog") for index in range(4)] == iterator.filenames
    assert [str(photos / name) for name in iterator.filenames] == iterator.filepaths
    assert [0, 0, 0, 0, 1, 1, 1, 1] == iterator.classes.tolist() == iterator.labels.tolist()
    assert (8, 8, 3, 2) == (iterator.n, iterator.samples, len(iterator), iterator.num_classes)
    assert (24, 32, 3) == iterator.image_shape
    assert "DirectoryIterator of 8 samples" in repr(iterator)


@pytest.mark.parametrize(
    ("mode", "labels"),
    [
        ("categorical", [[1, 0]] * 4 + [[0, 1]] * 4),
        ("binary", [0, 0, 0, 0, 1, 1, 1, 1]),
        ("sparse", [0, 0, 0, 0, 1, 1, 1, 1]),
    ],
)
def test_labels_are_what_the_class_mode_says(photos: Path, mode: str, labels: list[Any]) -> None:
    """Floats, one row a sample."""
    images, found = next(folder(photos, class_mode=mode, shuffle=False, batch_size=8))
    assert (8, 24, 32, 3) == images.shape
    assert np.float32 == found.dtype
    assert labels == found.tolist()


def test_images_may_be_their_own_labels_or_have_none(photos: Path) -> None:
    """`input`: a copy of the images; None: the images alone."""
    images, labels = next(folder(photos, class_mode="input"))
    assert np.array_equal(images, labels)
    assert not np.shares_memory(images, labels)
    assert (3, 24, 32, 3) == next(folder(photos, class_mode=None)).shape


def test_the_subsets_are_the_first_and_last_files_of_each_class(photos: Path) -> None:
    """Of the sorted files of each class, `validation` takes the first quarter and `training` the rest."""
    split = {"validation_split": 0.25}
    assert ["cat/00000.jpg", "dog/00000.jpg"] == folder(photos, split, subset="validation").filenames
    assert 6 == len(folder(photos, split, subset="training").filenames)


@pytest.mark.parametrize(("mode", "pillow"), [("rgb", "RGB"), ("grayscale", "L"), ("rgba", "RGBA")])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "hamming", "box", "lanczos"])
def test_pixels_are_pillow_s(photos: Path, mode: str, pillow: str, interpolation: str) -> None:
    """Without random changes, an image is what Pillow decodes, converts and resizes, to the bit; gray to two levels."""
    images = next(folder(photos, color_mode=mode, interpolation=interpolation, shuffle=False, class_mode=None))
    for image, path in zip(images, sorted(photos.rglob("*.jpg")), strict=False):
        opened = Image.open(path).convert(pillow).resize((32, 24), Image.Resampling[interpolation.upper()])
        expected = np.asarray(opened, np.float32).reshape(image.shape)
        assert np.abs(expected - image).max() <= (2 if mode == "grayscale" else 0)


def test_the_aspect_ratio_may_be_kept(tmp_path: Path) -> None:
    """The middle of the image that has the target's aspect ratio, and nothing else."""
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "wide.png").write_bytes(encode(wide, "PNG"))
    assert (200 == next(folder(tmp_path, target_size=(10, 10), keep_aspect_ratio=True))[0]).all()
    assert (0 == next(folder(tmp_path, target_size=(10, 10)))[0][0, :, 0]).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"class_mode": "other"}, "class_mode = 'other': give one of 'categorical'"),
        ({"color_mode": "cmyk"}, "color_mode = 'cmyk'"),
        ({"interpolation": "sinc"}, "interpolation = 'sinc'"),
        ({"subset": "test"}, "subset = 'test'"),
        ({"target_size": 150}, "target_size = 150"),
        ({"target_size": (0, 5)}, r"target_size = \(0, 5\)"),
        ({"target_size": (150, 150, 3)}, r"target_size = \(150, 150, 3\)"),
        ({"target_size": (10.5, 5)}, r"target_size = \(10.5, 5\)"),
        ({"batch_size": None}, "batch_size = None"),
        ({"classes": "cat"}, "classes = 'cat': give a list of the names"),
        ({"classes": [1, 2]}, r"classes = \[1, 2\]"),
        ({"directory": 5}, "directory = 5: give the path of a folder"),
    ],
)
def test_a_bad_argument_for_folders_is_refused(photos: Path, arguments: dict[str, Any], words: str) -> None:
    """A ValueError or TypeError, as in Keras, that quotes the value."""
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        folder(arguments.pop("directory", photos), **arguments)
    assert isinstance(caught.value, PenstockError)


@pytest.mark.parametrize("cval", [-1, 300, 255.5])
def test_files_are_not_filled_with_what_8_bits_cannot_hold(photos: Path, cval: float) -> None:
    """The value is quoted; where it is never seen, it is nobody's business."""
    arguments: dict[str, Any] = {"rotation_range": 20, "fill_mode": "constant", "cval": cval}
    with pytest.raises(ArgumentError, match=f"cval = {float(cval)}: image files have levels of 0 to 255"):
        folder(photos, arguments)
    assert 3 == len(next(folder(photos, {**arguments, "fill_mode": "nearest"}))[0])


def test_relative_paths_start_where_the_script_was(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script may go to another folder before the first batch."""
    monkeypatch.chdir(photos.parent)
    iterator = folder(Path("photos"))
    monkeypatch.chdir("/")
    assert "photos/cat/00000.jpg" == iterator.filepaths[0]
    assert (3, 24, 32, 3) == next(iterator)[0].shape


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A FileNotFoundError, as in Keras."""
    with pytest.raises(FileNotFoundError, match="nowhere' is not a folder"):
        folder(tmp_path / "nowhere")


def test_a_class_without_a_folder_is_warned_of(photos: Path) -> None:
    """Keras silently finds no images in it."""
    with pytest.warns(UserWarning, match="'bird' has no folder"):
        iterator = folder(photos, classes=["dog", "bird"])
    assert {"dog": 0, "bird": 1} == iterator.class_indices
    assert 4 == iterator.n


def test_nothing_found_is_an_error_in_words_when_a_batch_is_asked_for(tmp_path: Path) -> None:
    """Making the iterator works, as in Keras."""
    (tmp_path / "empty").mkdir()
    iterator = folder(tmp_path)
    assert 0 == len(iterator)
    assert 0 == next(iterator.index_generator).size
    with pytest.raises(ArgumentError, match="has no samples"):
        next(iterator)


def test_an_image_that_cannot_be_read_is_an_error_that_names_it(photos: Path) -> None:
    """Keras ends there, too: samples are never left out in silence."""
    (photos / "dog" / "00002.jpg").write_bytes(b"not an image")
    iterator = folder(photos, batch_size=8)
    with pytest.raises(FailureBudgetError, match=f"{photos}/dog/00002.jpg: not an image"):
        next(iterator)


@pytest.mark.parametrize(
    "name",
    [
        'a "b", c.jpg',
        "ü ñ 日本.jpg",
        "a;b'c.jpg",
        " .jpg",
        "Screenshot 2024-05-01 at 9.41.00\u202fAM.png",  # as macOS names them
        "no\u00a0break.jpg",
        "zero\u200bwidth, \u202edetfel ot thgir.jpg",
        "tab\tand\nlines\r\n.jpg",
    ],
)
def test_odd_names_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    """Quotes, commas, other alphabets, characters that cannot be seen."""
    (tmp_path / "odd class").mkdir()
    (tmp_path / "odd class" / name).write_bytes(encode(picture(1)))
    iterator = folder(tmp_path)
    assert [f"odd class/{name}"] == iterator.filenames
    assert (1, 24, 32, 3) == next(iterator)[0].shape


@pytest.mark.parametrize("name", [b"back\\slash.jpg", b"latin \xe9.jpg"])
def test_names_that_cannot_be_sent_are_refused_at_once(tmp_path: Path, name: bytes) -> None:
    """Before the first batch, with the name quoted; from a DataFrame, too."""
    (tmp_path / "a").mkdir()
    path = os.path.join(os.fsencode(tmp_path / "a"), name)  # noqa: PTH118 - bytes
    with open(path, "wb") as file:  # noqa: PTH123 - bytes
        file.write(encode(picture(1)))
    words = re.escape(repr(os.fsdecode(path)))
    with pytest.raises(ArgumentError, match=words):
        folder(tmp_path)
    with pytest.raises(ArgumentError, match=words):
        listed(pd.DataFrame({"filename": [os.fsdecode(path)], "class": ["a"]}, dtype=object), None)


# DataFrames


def listed(frame: pd.DataFrame, place: Path | None, **more: Any) -> Any:
    """Return an iterator over what a DataFrame names."""
    generator = ImageDataGenerator(validation_split=0.25)
    options: dict[str, Any] = {"target_size": (24, 32), "batch_size": 8, **more}
    return generator.flow_from_dataframe(frame, place, **options)


def test_a_dataframe_gives_files_classes_and_weights(
    frame: pd.DataFrame, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By column names; the DataFrame itself is left alone."""
    before = frame.copy()
    iterator = listed(frame, photos, weight_col="weight", shuffle=False)
    assert "Found 8 validated image filenames belonging to 2 classes.\n" == capsys.readouterr().out
    images, labels, weights = next(iterator)
    assert (8, 24, 32, 3) == images.shape
    assert [0] * 4 + [1] * 4 == labels.argmax(axis=1).tolist()
    assert np.array_equal(frame["weight"], weights)
    assert frame["filename"].tolist() == iterator.filenames
    assert [0, 0, 0, 0, 1, 1, 1, 1] == iterator.classes
    assert before.equals(frame)


def test_absolute_paths_need_no_directory(frame: pd.DataFrame, photos: Path) -> None:
    """And paths with `..` in them lead where they say."""
    frame["filename"] = [f"{photos}/cat/../{name}" for name in frame["filename"]]
    assert (8, 24, 32, 3) == next(listed(frame, None))[0].shape


@pytest.mark.parametrize(
    ("mode", "column", "expected"),
    [
        ("raw", "number", lambda frame: frame["number"].to_numpy()),
        ("raw", ["number", "weight"], lambda frame: frame[["number", "weight"]].to_numpy()),
        ("sparse", "class", lambda _: np.array([0.0] * 4 + [1.0] * 4)),
        ("binary", "class", lambda _: np.array([0.0] * 4 + [1.0] * 4)),
    ],
)
def test_targets_are_what_the_class_mode_says(
    frame: pd.DataFrame, photos: Path, mode: str, column: Any, expected: Callable[[pd.DataFrame], Any]
) -> None:
    """Raw values keep their type and shape."""
    frame["number"] = np.linspace(-1.0, 1.0, 8)
    _, labels = next(listed(frame, photos, class_mode=mode, y_col=column, shuffle=False))
    assert np.array_equal(expected(frame), labels)


def test_several_outputs_are_a_list_of_targets(frame: pd.DataFrame, photos: Path) -> None:
    """Each from a column of its own, of any shape."""
    frame["box"] = [[index, index + 1] for index in range(8)]
    iterator = listed(frame, photos, class_mode="multi_output", y_col=["weight", "box"], shuffle=False)
    _, (weights, boxes) = next(iterator)
    assert np.array_equal(frame["weight"], weights)
    assert (8, 2) == boxes.shape
    assert 2 == len(iterator.labels)


def test_a_picture_may_have_several_classes(frame: pd.DataFrame, photos: Path) -> None:
    """Lists in the class column: a one for each; classes that are not asked for are left out."""
    frame["class"] = [["cat", "small"], ["small"], ["big", "cat"], "cat"] * 2
    _, labels = next(listed(frame, photos, shuffle=False))
    assert [[0, 1, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]] * 2 == labels.tolist()
    iterator = listed(frame, photos, classes=["small", "big"], shuffle=False)
    assert {"small": 0, "big": 1} == iterator.class_indices
    assert [[1, 0], [1, 0], [0, 1]] * 2 == next(iterator)[1].tolist()


def test_the_index_of_a_dataframe_means_nothing(frame: pd.DataFrame, photos: Path) -> None:
    """Rows count by place, whatever they are labelled with."""
    other = frame.set_index(pd.Index([f"row {index % 3}" for index in range(8)]))
    pairs = zip(listed(frame, photos, seed=1), listed(other, photos, seed=1), strict=True)
    for _ in range(2):
        (images, labels), (same, alike) = next(pairs)
        assert np.array_equal(images, same)
        assert np.array_equal(labels, alike)


def test_the_given_classes_fix_the_labels_even_without_a_file(tmp_path: Path) -> None:
    """As in Keras, an iterator may be made of files that are all missing."""
    frame = pd.DataFrame({"filename": ["A.jpg", "B.jpg"], "class": ["A", "B"]})
    with pytest.warns(UserWarning, match="2 of the names"):
        iterator = listed(frame, tmp_path, classes=["B", "A"])
    assert {"B": 0, "A": 1} == iterator.class_indices
    assert 0 == iterator.n


def test_names_that_are_no_images_are_left_out_with_a_warning(frame: pd.DataFrame, photos: Path) -> None:
    """Missing files and other suffixes; without validation they are found when they are read."""
    frame.loc[2, "filename"] = "cat/missing.jpg"
    with pytest.warns(UserWarning, match="1 of the names in x_col = 'filename' .*missing.jpg"):
        assert 7 == listed(frame, photos).n
    iterator = listed(frame, photos, validate_filenames=False)
    assert 8 == iterator.n
    with pytest.raises(FailureBudgetError, match=r"missing\.jpg: no such file"):
        next(iterator)


def test_a_dataframe_s_subsets_are_its_first_and_last_rows(frame: pd.DataFrame, photos: Path) -> None:
    """Not by class: sort or shuffle the rows before."""
    assert frame["filename"].tolist()[:2] == listed(frame, photos, subset="validation").filenames
    assert frame["filename"].tolist()[2:] == listed(frame, photos, subset="training").filenames


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"y_col": "weight"}, TypeError, "y_col = 'weight' holds 0.0"),
        ({"y_col": "weight", "class_mode": "sparse"}, TypeError, "must be text"),
        ({"x_col": "weight"}, TypeError, "x_col = 'weight' holds 0.0"),
        ({"x_col": "file"}, ValueError, "no column 'file'; it has"),
        ({"y_col": "label"}, ValueError, "no column 'label'"),
        ({"class_mode": "multi_output"}, TypeError, "needs a list of columns"),
        ({"class_mode": "binary", "classes": ["cat", "dog", "cow"]}, ValueError, "needs 2 classes, and there are 3"),
        ({"class_mode": "binary", "y_col": "filename"}, ValueError, "needs 2 classes, and there are 8"),
        ({"class_mode": "one-hot"}, ValueError, "class_mode = 'one-hot'"),
        ({"weight_col": "class"}, TypeError, "weight_col = 'class'"),
        ({"colour": "red"}, TypeError, "unexpected keyword argument 'colour'"),
        ({"classes": "cat"}, TypeError, "classes = 'cat': give a list"),
        ({"y_col": ["class", "weight"]}, TypeError, r"\['class', 'weight'\]: class_mode = 'categorical' needs one"),
        ({"x_col": ["filename"]}, ValueError, r"no column \['filename'\]"),
        ({"directory": 5}, TypeError, "directory = 5: give the path of a folder"),
        ({"dataframe": {"filename": ["a.jpg"]}}, TypeError, r"dataframe = \{'filename': \['a.jpg'\]\}: give a pandas"),
        ({"dataframe": None}, TypeError, "dataframe = None: give a pandas DataFrame"),
    ],
)
def test_a_bad_argument_for_dataframes_is_refused(
    frame: pd.DataFrame, photos: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    """As Keras does, with a TypeError or a ValueError; the value is quoted."""
    with pytest.raises(error, match=words):
        listed(changes.pop("dataframe", frame), changes.pop("directory", photos), **changes)


def test_what_keras_gave_up_is_still_taken_with_a_warning(frame: pd.DataFrame, photos: Path) -> None:
    """Old scripts give `has_ext`, `sort`, `drop_duplicates` and class mode `other`."""
    with pytest.warns(DeprecationWarning, match="has_ext does nothing"):
        listed(frame, photos, has_ext=True)
    with pytest.warns(DeprecationWarning, match="now called 'raw'"):
        assert "raw" == listed(frame, photos, class_mode="other").class_mode
    with pytest.warns(UserWarning, match="classes = .* is ignored"):
        listed(frame, photos, class_mode="raw", classes=["cat"])


def test_keras_s_own_workers_are_not_used() -> None:
    """Scripts may set them, as on any PyDataset: a warning says what to give instead, and Keras sees none."""
    keras = pytest.importorskip("keras", reason="NOT TESTED: Keras is not installed")
    iterator = flow()
    assert isinstance(iterator, keras.utils.PyDataset)
    with pytest.warns(UserWarning, match="workers = 4 is ignored: give workers = N to the generator"):
        iterator.workers = 4
    with pytest.warns(UserWarning, match="use_multiprocessing = True is ignored"):
        iterator.use_multiprocessing = True
    assert (1, False) == (iterator.workers, iterator.use_multiprocessing)


def test_an_iterator_stays_in_its_process() -> None:
    """Keras's `use_multiprocessing` would pickle or fork it: refused in words that name what to give instead."""
    iterator = flow()
    with pytest.raises(TypeError, match="leave `use_multiprocessing` out, and give workers = N"):
        pickle.dumps(iterator)
    child = multiprocessing.get_context("fork").Process(target=ask, args=(iterator,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        child.start()
    child.join(60)
    assert 7 == child.exitcode


def ask(iterator: Any) -> None:
    """Exit with 7 if the iterator refuses to work here."""
    try:
        iterator[0]
    except ArgumentError as error:
        os._exit(7 if "was made in process" in str(error) else 1)
