"""`penstock.ImageDataGenerator`: the retired Keras class, on top of worker processes of this machine.

Turns the arguments of the three `flow` methods into iterators. `settings.py` defines how an image is changed, and
`sources.py` which processes do it.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penstock.image_data_generator import arrays, files, sources, targets
from penstock.image_data_generator.checks import check_choice, check_folder, check_whole, check_workers
from penstock.image_data_generator.feeders import Order
from penstock.image_data_generator.file_iterators import DataFrameIterator, DirectoryIterator, FileAttributes
from penstock.image_data_generator.iterators import NumpyArrayIterator, Parts
from penstock.image_data_generator.pydataset import for_keras
from penstock.image_data_generator.saving import Saver
from penstock.image_data_generator.settings import ImageSettings
from penstock.image_data_generator.standardize import check_images

#: The spec's limit.
_LARGEST_BATCH = 1_000_000
#: Arguments of `flow_from_dataframe` that Keras gave up long ago, and what to do instead.
_GIVEN_UP = {
    "has_ext": "give the names of files as they are on disk",
    "sort": "with shuffle = False the order is the DataFrame's",
    "drop_duplicates": "call drop_duplicates() on the DataFrame",
}


@dataclass(frozen=True, slots=True)
class _FileArguments:
    """Arguments that `flow_from_directory` and `flow_from_dataframe` share, checked."""

    directory: str
    class_mode: str | None
    #: How image files become arrays.
    shown: sources.FileSettings
    subset: str | None
    split: files.Split | None
    saver: Saver
    workers: int | None


class ImageDataGenerator(ImageSettings):
    """Endless batches of images, changed at random while a model trains: Keras's retired class of this name.

    All arguments of the Keras class mean what they mean there; `docs/image_data_generator.md` lists what differs.
    `workers` is the number of processes that make the images: 0 for none but this one; by default as many as this
    process may use cores, and none for a few images. Any number gives the same batches, bit for bit.

    Examples:
        >>> from penstock import ImageDataGenerator  # doctest: +SKIP
        >>> generator = ImageDataGenerator(rotation_range=20, horizontal_flip=True, rescale=1 / 255)
        >>> model.fit(generator.flow_from_directory("photos", target_size=(150, 150)), epochs=10)
    """

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        save_to_dir: str | Path | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        ignore_class_split: bool = False,
        subset: str | None = None,
        *,
        workers: int | None = None,
        pool: Any = None,
    ) -> NumpyArrayIterator:
        """Return an iterator over images in memory (rank 4) with labels and weights of any kind.

        `x` may be `(images, other inputs)`. Raises ArgumentError, a ValueError, and ArgumentTypeError, a TypeError.
        """
        split = self._validation_split
        given = arrays.take(x, y, sample_weight, subset, split, ignore_class_split=ignore_class_split)
        check_images(self, given.images, "flow")
        order = _order(len(given.images), batch_size, seed, shuffle=shuffle)
        last = np.moveaxis(given.images, 1, -1) if self.data_format == "channels_first" else given.images
        saver = Saver(save_to_dir, save_prefix, save_format)
        made = sources.of_arrays(self, last, order, self._workers(workers, pool))
        parts = Parts(self, order, made.feeder, given.targets, saver, seed, made.workers, made.divisor)
        return for_keras(NumpyArrayIterator)(parts, given.images)

    def flow_from_directory(
        self,
        directory: str | Path,
        target_size: Sequence[int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | Path | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        *,
        workers: int | None = None,
        pool: Any = None,
    ) -> DirectoryIterator:
        """Return an iterator over a folder with one subfolder per class, resized to `target_size` (height, width).

        Raises ArgumentError, a ValueError, and MissingFolderError, a FileNotFoundError.
        """
        check_choice("class_mode", class_mode, DirectoryIterator.allowed_class_modes)
        shown = sources.file_settings(target_size, color_mode, interpolation, keep_aspect_ratio=keep_aspect_ratio)
        saver = Saver(save_to_dir, save_prefix, save_format)
        ask = self._ask(directory, class_mode, shown, subset, saver, workers, pool)
        listed = files.list_directory(directory, classes, ask.split, follow_links=follow_links)
        order = _order(len(listed.filenames), batch_size, seed, shuffle=shuffle)
        parts, attributes = self._from_files(ask, listed, order, seed)
        print(f"Found {order.samples} images belonging to {len(listed.class_indices)} classes.")
        return for_keras(DirectoryIterator)(parts, attributes)

    def flow_from_dataframe(
        self,
        dataframe: Any,
        directory: str | Path | None = None,
        x_col: str = "filename",
        y_col: Any = "class",
        weight_col: str | None = None,
        target_size: Sequence[int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | Path | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        validate_filenames: bool = True,
        *,
        keep_aspect_ratio: bool = False,
        workers: int | None = None,
        pool: Any = None,
        **given_up: Any,
    ) -> DataFrameIterator:
        """Return an iterator over the image files that column `x_col` of a pandas DataFrame names.

        Names are paths, absolute or below `directory`. Raises ArgumentError, a ValueError, and ArgumentTypeError, a
        TypeError.
        """
        class_mode = _from_old_times(class_mode, given_up)
        check_choice("class_mode", class_mode, DataFrameIterator.allowed_class_modes)
        shown = sources.file_settings(target_size, color_mode, interpolation, keep_aspect_ratio=keep_aspect_ratio)
        saver = Saver(save_to_dir, save_prefix, save_format)
        ask = self._ask(directory or "", class_mode, shown, subset, saver, workers, pool)
        columns = files.Columns(x_col, y_col, weight_col, class_mode)
        listed = files.list_dataframe(dataframe, directory, columns, classes, ask.split, validate=validate_filenames)
        order = _order(len(listed.filenames), batch_size, seed, shuffle=shuffle)
        parts, attributes = self._from_files(ask, listed, order, seed)
        kind = "validated" if validate_filenames else "non-validated"
        belonging = "" if listed.classes is None else f" belonging to {len(listed.class_indices)} classes"
        print(f"Found {order.samples} {kind} image filenames{belonging}.")
        return for_keras(DataFrameIterator)(parts, attributes)

    def _workers(self, workers: int | None, pool: Any) -> int | None:
        count = check_workers(workers, pool)
        return self.workers if count is None else count

    def _ask(
        self,
        directory: str | Path,
        class_mode: str | None,
        shown: sources.FileSettings,
        subset: str | None,
        saver: Saver,
        workers: int | None,
        pool: Any,
    ) -> _FileArguments:
        """Return the checked arguments of both methods for files. Raises ArgumentError and ArgumentTypeError."""
        split = files.split_of(subset, self._validation_split)
        return _FileArguments(
            check_folder("directory", directory), class_mode, shown, subset, split, saver, self._workers(workers, pool)
        )

    def _from_files(
        self, ask: _FileArguments, listed: files.Files, order: Order, seed: int | None
    ) -> tuple[Parts, FileAttributes]:
        """Return the parts of an iterator over files, and the attributes that it shows."""
        height, width, channels = ask.shown.shape
        attributes = FileAttributes(
            directory=ask.directory,
            filenames=listed.filenames,
            filepaths=[os.path.join(ask.directory, name) for name in listed.filenames],  # noqa: PTH118 - a million
            class_indices=listed.class_indices,
            classes=listed.classes,
            labels=listed.classes if listed.targets is None else listed.targets,
            class_mode=ask.class_mode,
            color_mode=ask.shown.color_mode,
            target_size=ask.shown.size,
            image_shape=(channels, height, width) if self.data_format == "channels_first" else ask.shown.shape,
            interpolation=ask.shown.interpolation,
            keep_aspect_ratio=ask.shown.keep_aspect_ratio,
            subset=ask.subset,
            split=ask.split,
        )
        feeder, count = sources.of_files(self, attributes.filepaths, ask.shown, order, ask.workers)
        labels = targets.of_files(listed, ask.class_mode, self.dtype)
        return Parts(self, order, feeder, labels, ask.saver, seed, count), attributes


def _from_old_times(class_mode: str | None, given_up: dict[str, Any]) -> str | None:
    """Return the class mode under its present name; warn of it, and of arguments that do nothing any more."""
    for name in given_up:
        if name not in _GIVEN_UP:
            raise TypeError(f"flow_from_dataframe() got an unexpected keyword argument {name!r}")
        warnings.warn(f"{name} does nothing any more: {_GIVEN_UP[name]}", DeprecationWarning, stacklevel=3)
    if class_mode != "other":
        return class_mode
    warnings.warn("class_mode = 'other' is now called 'raw'", DeprecationWarning, stacklevel=3)
    return "raw"


def _order(samples: int, batch_size: Any, seed: Any, *, shuffle: Any) -> Order:
    """Return which samples make which batch. Raises ArgumentError.

    Without a seed, one is drawn from numpy's global generator: a script that seeds that one repeats itself.
    """
    batch = check_whole("batch_size", batch_size, 1, _LARGEST_BATCH)
    drawn = np.random.randint(2**31 - 1) if seed is None else seed  # noqa: NPY002 - what scripts seed
    chosen = check_whole("seed", drawn, 0)
    return Order(chosen, samples, batch, bool(shuffle))
