"""`flow_from_dataframe`: files, classes, targets, weights and bad arguments."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.keras.flows import listed

from penstock.protocol.errors import ArgumentError, FailureBudgetError


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


@pytest.mark.parametrize(
    ("column", "arguments"),
    [
        ("filename", {}),
        ("class", {}),
        ("class", {"class_mode": "sparse"}),
        ("weight", {"weight_col": "weight"}),
        ("weight", {"class_mode": "raw", "y_col": "weight"}),
        ("weight", {"class_mode": "multi_output", "y_col": ["class", "weight"]}),
    ],
    ids=str,
)
def test_a_column_that_is_there_twice_is_refused_if_it_is_used(
    frame: pd.DataFrame, photos: Path, column: str, arguments: dict[str, Any]
) -> None:
    """Pandas would give two columns in the place of one; the error names the column and says what to do."""
    doubled = pd.concat([frame, frame[[column]]], axis=1)
    words = re.escape(f"more than one column {column!r}, of {[*frame.columns, column]!r}: rename or drop them")
    with pytest.raises(ArgumentError, match=words):
        listed(doubled, photos, **arguments)


def test_a_column_that_is_there_twice_and_not_used_is_left_alone(frame: pd.DataFrame, photos: Path) -> None:
    """Only the columns that were asked for must be clear."""
    doubled = pd.concat([frame, frame[["weight"]]], axis=1)
    assert frame["filename"].tolist() == listed(doubled, photos).filenames


def test_what_keras_gave_up_is_still_taken_with_a_warning(frame: pd.DataFrame, photos: Path) -> None:
    """Old scripts give `has_ext`, `sort`, `drop_duplicates` and class mode `other`."""
    with pytest.warns(DeprecationWarning, match="has_ext does nothing"):
        listed(frame, photos, has_ext=True)
    with pytest.warns(DeprecationWarning, match="now called 'raw'"):
        assert "raw" == listed(frame, photos, class_mode="other").class_mode
    with pytest.warns(UserWarning, match="classes = .* is ignored"):
        listed(frame, photos, class_mode="raw", classes=["cat"])
