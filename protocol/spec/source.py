"""The spec's sources: where items come from. Owns their fields; refuses to know the files themselves."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from penstock.protocol.spec.model import Model, Name


def _confined(value: str) -> str:
    if value.startswith("/") or "\\" in value or "\0" in value or ".." in PurePosixPath(value).parts:
        raise ValueError("must be a relative path with '/' between parts and no '..'; the root is mapped by each host")
    return value


class _Source(Model):
    root: Name
    """Name of the root that the paths are relative to; each host maps it: `[roots]` here, `--root name=/path` there.
    Image files and manifests may lie below a URL: `--root name=http://host/folder`."""
    classes: tuple[str, ...] | None = None
    """Class names in label order; default: all that are found, sorted."""
    allow_outside: bool = False
    """Follow symbolic links that lead out of the root; otherwise such a link is an error."""
    validation_split: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Fraction of each class that `subset = "validation"` holds, chosen by a hash of the path; 0 to below 1."""
    subset: Literal["all", "training", "validation"] = "all"
    """Which side of `validation_split` to take."""

    @model_validator(mode="after")
    def _subset_needs_a_split(self) -> "_Source":
        if (self.subset == "all") != (self.validation_split == 0.0):
            raise ValueError(
                f"subset = {self.subset!r} with validation_split = {self.validation_split}: give both, or neither"
            )
        return self


class DirectorySource(_Source):
    """A tree of image files: a folder a class, nested folders below it included."""

    kind: Literal["directory"]
    """Says that this is a directory tree."""
    path: str = ""
    """Folder below the root."""

    _paths_stay_inside = field_validator("path")(_confined)


class ManifestSource(_Source):
    """A CSV or Parquet file with a row for each image."""

    kind: Literal["manifest"]
    """Says that this is a manifest."""
    path: str = ""
    """Manifest file below the root."""
    manifest_root: Name | None = None
    """Named root that the manifest itself lies below; default: `root`. Only the ventilator's host needs it."""
    images: str = ""
    """Folder below the root that the manifest's paths are relative to."""
    path_column: str = "path"
    """Column with the image's path."""
    label_column: str = "label"
    """Column with the class name (or number)."""

    _paths_stay_inside = field_validator("path", "images")(_confined)


class ArraySource(_Source):
    """Images in a `.npy` or `.npz` file, which every worker maps into its memory: an item is a row.

    uint8 of shape (N, height, width) or (N, height, width, channels): gray, red, green, blue, or these and alpha; or
    another number type whose values are all whole, 0 to 255, which becomes the same uint8.
    """

    kind: Literal["arrays"]
    """Says that this is an array."""
    images: Annotated[str, Field(min_length=1)]
    """The images below the root: `x.npy`, or `set.npz/x` for the member x of an .npz file."""
    labels: str = ""
    """The labels, named likewise: N whole numbers from 0 on, of shape (N,) or (N, 1); default: none, `label` is -1."""

    _paths_stay_inside = field_validator("images", "labels")(_confined)


class Hdf5Source(_Source):
    """Images in a data set of an HDF5 file: an item is a row. What images and labels may be is as for `arrays`."""

    kind: Literal["hdf5"]
    """Says that this is an HDF5 file."""
    path: Annotated[str, Field(min_length=1)]
    """The file below the root."""
    images: Annotated[str, Field(min_length=1)] = "image"
    """Data set with the images; groups before it as in a path."""
    labels: str = "label"
    """Data set with the labels; empty: none, `label` is -1. Class names come from an attribute `classes` of it, or of
    the file, unless `classes` is given."""

    _paths_stay_inside = field_validator("path")(_confined)


#: Sources whose items are rows: a number is all that a worker needs to find one.
RowSource = ArraySource | Hdf5Source
#: Sources whose items are image files.
FileSource = DirectorySource | ManifestSource
Source = Annotated[DirectorySource | ManifestSource | ArraySource | Hdf5Source, Field(discriminator="kind")]
