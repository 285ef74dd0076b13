"""`ImageDataGenerator` beside Keras's own class of that name: whatever is not random must be the same."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.images import encode, picture, write_images

import penstock

keras_image = pytest.importorskip(
    "keras.src.legacy.preprocessing.image", reason="NOT COMPARED: Keras has dropped the class"
)

pytestmark = pytest.mark.integration

RNG = np.random.default_rng(12)
IMAGES = np.stack([picture(index, index % 3, 20, 24) for index in range(12)]).astype(np.float32)
LABELS = np.arange(12) % 3


def both(**arguments: Any) -> tuple[Any, Any]:
    """Return Keras's generator and ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of arguments that imply others: tested by themselves
        return keras_image.ImageDataGenerator(**arguments), penstock.ImageDataGenerator(**arguments)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all that a listing can meet: nested folders, links, other files, odd suffixes."""
    top = tmp_path_factory.mktemp("tree")
    write_images(top, ("b", "a", "c"), 5, size=(30, 40))
    write_images(top / "a" / "deep", ("x", "B"), 2, suffix=".png", size=(30, 40))
    (top / "a" / "notes.txt").write_text("no image", encoding="utf-8")
    (top / "a" / "UPPER.JPEG").write_bytes(encode(picture(5, 0, 30, 40)))
    (top / "a" / "also.bmp").write_bytes(encode(picture(6, 0, 30, 40), "BMP"))
    (top / "a" / "moving.gif").write_bytes(encode(picture(6), "GIF"))
    (top / "beside.jpg").write_bytes(encode(picture(7)))
    (top / "empty").mkdir()
    (top / "c" / "linked").symlink_to(top / "b", target_is_directory=True)
    return top


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"classes": ["c", "a"]},
        {"follow_links": True},
        {"subset": "training"},
        {"subset": "validation", "class_mode": "sparse"},
    ],
    ids=str,
)
def test_folders_are_listed_as_keras_lists_them(
    tree: Path, arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Names, classes, their order, the subsets, and the line that is printed."""
    found = []
    for generator in both(validation_split=0.3):
        iterator = generator.flow_from_directory(str(tree), shuffle=False, **arguments)
        shown = [iterator.filenames, iterator.filepaths, iterator.class_indices, iterator.classes.tolist()]
        shown += [iterator.n, iterator.samples, len(iterator), iterator.num_classes, iterator.image_shape]
        found.append((shown, capsys.readouterr().out))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("mode", "workers"), [("categorical", 0), ("categorical", 1), ("binary", 0), ("sparse", 0), ("input", 0), (None, 0)]
)
def test_unchanged_batches_of_folders_are_keras_s(tree: Path, mode: str | None, workers: int) -> None:
    """Images to the bit, labels and their types, over more than an epoch."""
    theirs, ours = both(rescale=1 / 255)
    options: dict[str, Any] = {"target_size": (16, 20), "class_mode": mode, "shuffle": False, "batch_size": 7}
    expected = theirs.flow_from_directory(str(tree), **options)
    with ours.flow_from_directory(tree, **options, workers=workers) as iterator:
        for _ in range(len(expected) + 2):
            same(next(expected), next(iterator))
        same(expected[1], iterator[1])


@pytest.mark.parametrize("color", ["rgb", "rgba"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "lanczos"])
def test_pixels_are_keras_s(tree: Path, color: str, interpolation: str) -> None:
    """In colours and for every kind of filter; with channels first, too."""
    for data_format in ("channels_last", "channels_first"):
        theirs, ours = both(data_format=data_format)
        options: dict[str, Any] = {
            "target_size": (16, 20),
            "color_mode": color,
            "interpolation": interpolation,
            "shuffle": False,
        }
        expected, iterator = theirs.flow_from_directory(str(tree), **options), ours.flow_from_directory(tree, **options)
        same(next(expected), next(iterator))
        assert expected.image_shape == iterator.image_shape


def test_gray_pixels_are_keras_s_to_a_level_or_two(tree: Path) -> None:
    """A JPEG's own luma is read, without its colours; Keras converts the decoded colours back, which rounds twice."""
    theirs, ours = both()
    options: dict[str, Any] = {"target_size": (30, 40), "color_mode": "grayscale", "shuffle": False, "class_mode": None}
    expected, images = (next(each.flow_from_directory(str(tree), **options)) for each in (theirs, ours))
    assert expected.shape == images.shape
    assert np.abs(expected - images).max() <= 2
    assert np.abs(expected - images).mean() < 0.5


def test_kept_aspect_ratios_are_keras_s_where_the_cut_is_even(tree: Path) -> None:
    """Keras cuts whole pixels, Penstock fractions of them: the same where the cut falls between pixels."""
    theirs, ours = both()
    options: dict[str, Any] = {
        "target_size": (15, 15),
        "keep_aspect_ratio": True,
        "shuffle": False,
        "interpolation": "bilinear",
    }
    same(next(theirs.flow_from_directory(str(tree), **options)), next(ours.flow_from_directory(tree, **options)))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"classes": ["b", "a"]},
        {"class_mode": "sparse"},
        {"class_mode": "raw", "y_col": "weight"},
        {"class_mode": "multi_output", "y_col": ["weight", "number"]},
        {"class_mode": "input"},
        {"class_mode": None},
        {"weight_col": "weight"},
        {"subset": "training"},
        {"subset": "validation", "weight_col": "weight", "y_col": "several"},
        {"y_col": "several", "classes": ["b", "odd"]},
    ],
    ids=str,
)
def test_batches_of_dataframes_are_keras_s(
    tree: Path, arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every class mode, lists of classes, weights, subsets; what is shown and printed."""
    names = sorted(str(path.relative_to(tree)) for path in tree.glob("[abc]/*.jpg"))
    frame = pd.DataFrame({"filename": [*names, "a/missing.jpg"]})
    frame["class"] = [name[0] for name in frame["filename"]]
    frame["several"] = [[name[0], "odd"] if index % 2 else name[0] for index, name in enumerate(frame["filename"])]
    frame["weight"] = np.linspace(0.0, 1.0, len(frame))
    frame["number"] = np.arange(len(frame))
    found = []
    for generator in both(validation_split=0.4):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            options: dict[str, Any] = {"target_size": (8, 8), "batch_size": 6, "shuffle": False, **arguments}
            iterator = generator.flow_from_dataframe(frame, str(tree), **options)
        batches = [next(iterator) for _ in range(4)]
        shown = [iterator.filenames, iterator.filepaths, iterator.n, len(iterator), len(warned)]
        shown += [getattr(iterator, "class_indices", {}) or {}, list(getattr(iterator, "classes", None) or [])]
        found.append((batches, shown, capsys.readouterr().out))
    for expected, batch in zip(found[0][0], found[1][0], strict=True):
        same(expected, batch)
    assert found[0][1:] == found[1][1:]


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
    """Whatever stands beside the images."""
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


@pytest.mark.parametrize("kind", ["array", "folder", "frame"])
def test_iterators_have_keras_s_attributes(kind: str, tree: Path, tmp_path: Path) -> None:
    """All that Keras's iterators show in public; what is of the same name says the same."""
    frame = pd.DataFrame({"filename": sorted(str(path) for path in tree.glob("[abc]/*.jpg"))})
    frame["class"] = [Path(name).parent.name for name in frame["filename"]]
    iterators = []
    for generator in both(validation_split=0.25):
        saved: dict[str, Any] = {"save_to_dir": str(tmp_path), "save_prefix": "x", "save_format": "jpeg", "seed": 3}
        if kind == "array":
            iterators.append(generator.flow(IMAGES, LABELS, **saved))
            continue
        saved |= {"subset": "training", "keep_aspect_ratio": True}
        make = generator.flow_from_directory if kind == "folder" else generator.flow_from_dataframe
        if kind == "frame":
            del saved["keep_aspect_ratio"]
        iterators.append(make(str(tree) if kind == "folder" else frame, **saved))
    theirs, ours = iterators
    missing = {name for name in dir(theirs) if not name.startswith("_") and not hasattr(ours, name)}
    assert missing <= {"set_processing_attrs", "get_classes"}, "Keras's own workings"
    alike = ["save_to_dir", "save_prefix", "save_format", "white_list_formats", "seed", "batch_size", "shuffle", "n"]
    if kind != "array":
        alike += ["split", "subset", "keep_aspect_ratio", "interpolation", "class_mode", "color_mode"]
    for name in alike:
        assert getattr(theirs, name) == getattr(ours, name), name
    if kind != "array":
        assert theirs.allowed_class_modes == set(ours.allowed_class_modes)
    with theirs.lock, ours.lock:
        pass


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


def same(expected: Any, actual: Any) -> None:
    """Assert that two batches are equal in structure, type and value."""
    if isinstance(expected, (tuple, list)):
        assert type(expected) is type(actual)
        for one, other in zip(expected, actual, strict=True):
            same(one, other)
        return
    assert expected.dtype == actual.dtype
    assert expected.shape == actual.shape
    assert np.allclose(expected, actual, rtol=1e-5, atol=1e-5)
