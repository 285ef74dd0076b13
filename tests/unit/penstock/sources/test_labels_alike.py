"""The same labels give the same classes, or the same refusal, in every kind of source."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.sources.arrays import arrays, hdf5, write_hdf5
from support.sources.listings import manifest, write_csv

from penstock.launcher.in_memory_sources import Given
from penstock.protocol.errors import SourceError
from penstock.sources.base import Listing

Labels = Sequence[Any]


def from_csv(folder: Path, labels: Labels, **fields: Any) -> Listing:
    """List a CSV manifest."""
    write_csv(folder / "m.csv", [("path", "label"), *((f"{row}.jpg", label) for row, label in enumerate(labels))])
    return manifest(folder, path="m.csv", **fields)


def from_parquet(folder: Path, labels: Labels, **fields: Any) -> Listing:
    """List a Parquet manifest."""
    pyarrow = pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    paths = [f"{row}.jpg" for row in range(len(labels))]
    parquet.write_table(pyarrow.table({"path": paths, "label": np.array(labels)}), folder / "m.parquet")
    return manifest(folder, path="m.parquet", **fields)


def from_frame(folder: Path, labels: Labels, **fields: Any) -> Listing:
    """List the manifest of a data frame."""
    frame = pd.DataFrame({"path": [f"{row}.jpg" for row in range(len(labels))], "label": np.array(labels)})
    given = Given()
    given.extract({"streams": {"train": {"source": {"kind": "manifest", "root": "photos", "frame": frame}}}})
    given.write(folder, {"photos": str(folder)})
    return manifest(folder, path="train.csv", **fields)


def images(labels: Labels) -> Any:
    """Return an image for each label."""
    return np.zeros((len(labels), 2, 2), np.uint8)


def from_arrays(folder: Path, labels: Labels, **fields: Any) -> Listing:
    """List arrays."""
    np.save(folder / "x.npy", images(labels))
    np.save(folder / "y.npy", np.array(labels))
    return arrays(folder, **fields)


def from_hdf5(folder: Path, labels: Labels, **fields: Any) -> Listing:
    """List data sets."""
    write_hdf5(folder / "set.h5", images(labels), np.array(labels))
    return hdf5(folder, **fields)


every_source = pytest.mark.parametrize("source", [from_csv, from_parquet, from_frame, from_arrays, from_hdf5])


def named(listing: Listing) -> list[str]:
    """Return the class of each item."""
    return [listing.classes[listing.label(index)] for index in range(len(listing))]


@every_source
@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([2.0, 0.0, 1.0, 2.0], ("0", "1", "2")),
        ([1, -1, 10, 2], ("-1", "1", "2", "10")),
        ([-1.0, 1.0], ("-1", "1")),
        ([0.5, 10.0, 9.0, 0.25], ("0.25", "0.5", "9", "10")),
        (np.array([0.1, 2.5, 0.1], np.float32), ("0.1", "2.5")),
    ],
)
def test_numbers_are_the_same_classes(
    source: Callable[..., Listing], labels: Labels, classes: tuple[str, ...], tmp_path: Path
) -> None:
    """Whole, negative and fractional, of any type: sorted by value."""
    found = source(tmp_path, labels)
    assert classes == found.classes
    assert [float(label) for label in labels] == pytest.approx([float(name) for name in named(found)])


@every_source
def test_given_classes_hold_for_numbers_of_any_type(source: Callable[..., Listing], tmp_path: Path) -> None:
    """They are matched by value, and what is not among them is refused in the same words."""
    found = source(tmp_path, [1.0, -1.0, 1.0], classes=("1", "-1"))
    assert ["1", "-1", "1"] == named(found)
    with pytest.raises(SourceError, match=r"2(\.0)?'?: not among source.classes \('1', '-1'\)"):
        source(tmp_path, [1.0, -1.0, 2.0], classes=("1", "-1"))


@pytest.mark.parametrize("source", [from_parquet, from_frame, from_arrays, from_hdf5])
def test_a_number_that_is_none_is_refused_in_the_same_words(source: Callable[..., Listing], tmp_path: Path) -> None:
    """Not-a-number is how frames and files mark a label that is missing."""
    with pytest.raises(SourceError, match=r"= nan: a label must be text or a finite number"):
        source(tmp_path, [1.0, float("nan")])


def test_one_number_spelt_twice_in_a_file_is_one_class(tmp_path: Path) -> None:
    """A column that a program wrote as floats and another one appended to as integers."""
    found = from_csv(tmp_path, ["3", "3.0", "+3", "10"])
    assert ("3", "10") == found.classes
    assert [0, 0, 0, 1] == [found.label(index) for index in range(4)]
