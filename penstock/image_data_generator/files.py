"""Lists the files that an `ImageDataGenerator` reads, with their order and labels, by the rules of Keras's class.

Handles trees with one subfolder per class and pandas DataFrames; no image file is opened. The rules differ on purpose
from those of a spec's sources: an existing script must print and train on the same files as with Keras.
"""

import os
import reprlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.image_data_generator.checks import check_classes, check_folder
from penstock.protocol.errors import ArgumentError, ArgumentTypeError, MissingFolderError

#: Suffixes of image files, in any case.
ENDINGS = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")
#: Class modes without classes: the target is something else, or there is none.
CLASSLESS = frozenset({"input", "multi_output", "raw", None})

Split = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Files:
    """The listed files."""

    #: Paths below the folder, as scripts print them.
    filenames: list[str]
    #: Class name: index; empty without classes.
    class_indices: dict[str, int]
    #: For each file an index, or a list of indices; None without classes.
    classes: Any
    #: Targets from the DataFrame itself (`raw`: an array, `multi_output`: a list of arrays).
    targets: Any = None
    weights: npt.NDArray[Any] | None = None


def split_of(subset: str | None, validation_split: float) -> Split | None:
    """Return the part [start, stop) of the sorted files that a subset takes: `validation` the first ones.

    Raises ArgumentError for another name.
    """
    match subset:
        case None:
            return None
        case "validation":
            return 0.0, validation_split
        case "training":
            return validation_split, 1.0
        case _:
            raise ArgumentError(f"subset = {subset!r}: give 'training', 'validation' or None")


def list_directory(
    directory: str | Path, classes: Sequence[str] | None, split: Split | None, *, follow_links: bool
) -> Files:
    """List a folder that holds one subfolder per class; `split` applies to each class's sorted files.

    Raises MissingFolderError and ArgumentTypeError.
    """
    folder = check_folder("directory", directory)
    if not Path(folder).is_dir():
        raise MissingFolderError(
            f"{folder!r} is not a folder: flow_from_directory needs a folder with one subfolder per class"
        )
    names = check_classes(classes) or sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    filenames: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if not Path(folder, name).is_dir():
            warnings.warn(f"class {name!r} has no folder in {folder!r}: it has no images", stacklevel=2)
        found = list(_images(folder, name, follow_links=follow_links))
        if split:
            found = found[int(split[0] * len(found)) : int(split[1] * len(found))]
        filenames += found
        labels += [label] * len(found)
    indices = {name: label for label, name in enumerate(names)}
    return Files(filenames, indices, np.array(labels, np.int32))


def _images(folder: str, name: str, *, follow_links: bool) -> Iterator[str]:
    """Yield the images of a class, by folder and then by name, each from the class's folder on."""
    top = os.path.join(folder, name)  # noqa: PTH118 - a hundred thousand Paths take seconds
    for place, _, files in sorted(os.walk(top, followlinks=follow_links), key=lambda found: found[0]):
        below = os.path.relpath(place, folder)
        for file in sorted(files):
            lower = file.lower()
            if lower.endswith(".tiff"):
                warnings.warn(
                    "of a .tiff file with several bands or pages only the first three or one count", stacklevel=2
                )
            if lower.endswith(ENDINGS):
                yield os.path.join(below, file)  # noqa: PTH118


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a DataFrame by purpose."""

    x: str
    y: Any
    weight: str | None
    class_mode: str | None


def list_dataframe(
    frame: Any,
    directory: str | Path | None,
    columns: Columns,
    classes: Sequence[str] | None,
    split: Split | None,
    *,
    validate: bool,
) -> Files:
    """List the images that a DataFrame names. Raises ArgumentError and ArgumentTypeError."""
    classes, folder = check_classes(classes), check_folder("directory", directory or "")
    _check(frame, columns, classes)
    if validate:
        frame = _keep_valid(frame, folder, columns.x)
    indices: dict[str, int] = {}
    if columns.class_mode not in CLASSLESS:
        frame, names = _keep_classes(frame, columns.y, classes)
        indices = {name: label for label, name in enumerate(names)}
    if split:
        frame = frame.iloc[int(split[0] * len(frame)) : int(split[1] * len(frame))]
    labels = targets = None
    if columns.class_mode not in CLASSLESS:
        labels = [_label(value, indices) for value in frame[columns.y]]
    elif columns.class_mode == "multi_output":
        targets = [np.array(frame[name].tolist()) for name in columns.y]
    elif columns.class_mode == "raw":
        targets = frame[columns.y].to_numpy()
    weights = frame[columns.weight].to_numpy() if columns.weight else None
    return Files(frame[columns.x].tolist(), indices, labels, targets, weights)


def _check(frame: Any, columns: Columns, classes: Sequence[str] | None) -> None:
    mode, y = columns.class_mode, columns.y
    if not all(hasattr(frame, name) for name in ("columns", "iloc")):
        raise ArgumentTypeError(f"dataframe = {reprlib.repr(frame)}: give a pandas DataFrame")
    if mode == "multi_output" and not isinstance(y, list):
        raise ArgumentTypeError(f"y_col = {y!r}: class_mode = 'multi_output' needs a list of columns")
    wanted = [columns.x, *([columns.weight] if columns.weight else [])]
    if mode not in ("input", None):
        wanted += y if isinstance(y, list) else [y]
    known = list(frame.columns)
    if missing := [name for name in wanted if name not in known]:
        raise ArgumentError(f"the DataFrame has no column {missing[0]!r}; it has {known!r}")
    if twice := [name for name in wanted if known.count(name) > 1]:
        raise ArgumentError(f"the DataFrame has more than one column {twice[0]!r}, of {known!r}: rename or drop them")
    if mode in ("binary", "sparse", "categorical") and isinstance(y, list):
        raise ArgumentTypeError(f"y_col = {y!r}: class_mode = {mode!r} needs one column")
    _all(frame, columns.x, (str,), "x_col", "text: paths of files")
    if mode in ("binary", "sparse"):
        _all(frame, y, (str,), "y_col", f"text for class_mode = {mode!r}: names of classes")
    if mode == "categorical":
        _all(frame, y, (str, list, tuple), "y_col", "text, or a list or tuple of it, for class_mode = 'categorical'")
    if mode == "binary":
        count = len(set(classes)) if classes else frame[y].nunique()
        if count != 2:  # noqa: PLR2004 - binary
            raise ArgumentError(
                f"class_mode = 'binary' needs 2 classes, and there are {count}: give `classes`, or 'sparse'"
            )
    if classes and mode in CLASSLESS:
        warnings.warn(f"classes = {classes!r} is ignored: class_mode = {mode!r} has none", stacklevel=3)
    if columns.weight and not np.issubdtype(frame[columns.weight].to_numpy().dtype, np.number):
        raise ArgumentTypeError(f"weight_col = {columns.weight!r}: its values must be numbers")


def _all(frame: Any, column: Any, types: tuple[type, ...], argument: str, what: str) -> None:
    for value in frame[column]:
        if not isinstance(value, types):
            raise ArgumentTypeError(f"{argument} = {column!r} holds {value!r}, and all its values must be {what}")


def _keep_valid(frame: Any, folder: str, column: str) -> Any:
    paths = [os.path.join(folder, name) for name in frame[column]]  # noqa: PTH118
    valid = np.array([path.lower().endswith(ENDINGS) and os.path.isfile(path) for path in paths], np.bool_)  # noqa: PTH113
    if not valid.all():
        first = paths[int(np.flatnonzero(~valid)[0])]
        warnings.warn(
            f"{int((~valid).sum())} of the names in x_col = {column!r} are no image files, such as {first!r}: they are "
            "left out",
            stacklevel=4,
        )
    return frame[valid]


def _keep_classes(frame: Any, column: Any, classes: Sequence[str] | None) -> tuple[Any, list[str]]:
    """Return the rows with a class among `classes` (default: all), and the classes in the order of their indices."""
    if not classes:
        found: set[str] = set()
        for value in frame[column]:
            found.update(value if isinstance(value, (list, tuple)) else (value,))
        return frame, sorted(found)
    known = dict.fromkeys(classes)

    def kept(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [name for name in value if name in known] or None
        return value if value in known else None

    values = [kept(value) for value in frame[column]]
    rows = np.array([value is not None for value in values], np.bool_)
    frame = frame[rows].copy()
    frame[column] = [value for value in values if value is not None]
    return frame, list(known)


def _label(value: Any, indices: Mapping[str, int]) -> Any:
    return [indices[name] for name in value] if isinstance(value, (list, tuple)) else indices[value]
