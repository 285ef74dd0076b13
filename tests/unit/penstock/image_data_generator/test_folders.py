"""`flow_from_directory`: files, classes, labels, pixels and bad arguments."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import encode, picture
from support.keras.flows import folder

from penstock.protocol.errors import ArgumentError, FailureBudgetError, PenstockError


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
    """The value is quoted; where it has no effect, it is accepted."""
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
