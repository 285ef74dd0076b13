"""The iterators over image files: what `flow_from_directory` and `flow_from_dataframe` return."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from penstock.image_data_generator.files import Split
from penstock.image_data_generator.iterators import ImageIterator, Parts


@dataclass(frozen=True, slots=True)
class FileAttributes:
    """Public attributes of an iterator of files, under Keras's names."""

    directory: str
    filenames: Sequence[str]
    filepaths: Sequence[str]
    class_indices: dict[str, int]
    classes: Any
    labels: Any
    class_mode: str | None
    color_mode: str
    target_size: tuple[int, int]
    image_shape: tuple[int, ...]
    interpolation: str
    keep_aspect_ratio: bool
    subset: str | None
    #: The part [start, stop) of the files that the subset takes.
    split: Split | None


class FileIterator(ImageIterator):
    """Batches of image files."""

    def __init__(self, parts: Parts, shown: FileAttributes) -> None:
        """Set the public attributes."""
        super().__init__(parts)
        self.directory = shown.directory
        #: Paths below the folder, and full paths.
        self.filenames, self.filepaths = list(shown.filenames), list(shown.filepaths)
        self.class_indices, self.classes, self.labels = shown.class_indices, shown.classes, shown.labels
        self.num_classes, self.class_mode = len(shown.class_indices), shown.class_mode
        self.color_mode, self.target_size, self.image_shape = shown.color_mode, shown.target_size, shown.image_shape
        self.interpolation, self.keep_aspect_ratio = shown.interpolation, shown.keep_aspect_ratio
        self.subset, self.split = shown.subset, shown.split
        self.sample_weight = parts.targets.weights


class DirectoryIterator(FileIterator):
    """Batches of a tree with one subfolder per class, as `ImageDataGenerator.flow_from_directory` returns them."""

    allowed_class_modes: ClassVar[tuple[str | None, ...]] = ("categorical", "binary", "sparse", "input", None)


class DataFrameIterator(FileIterator):
    """Batches of the files that a DataFrame names, as `ImageDataGenerator.flow_from_dataframe` returns them."""

    allowed_class_modes: ClassVar[tuple[str | None, ...]] = (
        "categorical",
        "binary",
        "sparse",
        "input",
        "multi_output",
        "raw",
        None,
    )
