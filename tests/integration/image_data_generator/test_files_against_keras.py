"""Iterators over folders and DataFrames compared with Keras's own: the same listings, batches and attributes."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.images import encode, picture, write_images
from support.keras.compared import IMAGES, LABELS, both, same

pytestmark = pytest.mark.integration


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
