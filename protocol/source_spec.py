"""The spec's sources: where items come from. Owns their fields; refuses to know the files themselves."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from penstock.protocol.model import Model, Name


def _confined(value: str) -> str:
    if value.startswith("/") or "\\" in value or "\0" in value or ".." in PurePosixPath(value).parts:
        raise ValueError("must be a relative path with '/' between parts and no '..'; the root is mapped by each host")
    return value


class _Listed(Model):
    root: Name
    """Name of the root that the paths are relative to; each host maps it: `[roots]` here, `--root name=/path` there."""
    path: str = ""
    """Folder (directory) or manifest file (manifest) below the root."""
    classes: tuple[str, ...] | None = None
    """Class names in label order; default: all that are found, sorted."""
    allow_outside: bool = False
    """Follow symbolic links that lead out of the root; otherwise such a link is an error."""
    validation_split: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Fraction of each class that `subset = "validation"` holds, chosen by a hash of the path; 0 to below 1."""
    subset: Literal["all", "training", "validation"] = "all"
    """Which side of `validation_split` to take."""

    _paths_stay_inside = field_validator("path")(_confined)

    @model_validator(mode="after")
    def _subset_needs_a_split(self) -> "_Listed":
        if (self.subset == "all") != (self.validation_split == 0.0):
            raise ValueError(
                f"subset = {self.subset!r} with validation_split = {self.validation_split}: give both, or neither"
            )
        return self


class DirectorySource(_Listed):
    """A tree of image files: a folder a class, nested folders below it included."""

    kind: Literal["directory"]
    """Says that this is a directory tree."""


class ManifestSource(_Listed):
    """A CSV or Parquet file with a row for each image."""

    kind: Literal["manifest"]
    """Says that this is a manifest."""
    images: str = ""
    """Folder below the root that the manifest's paths are relative to."""
    path_column: str = "path"
    """Column with the image's path."""
    label_column: str = "label"
    """Column with the class name (or number)."""

    _images_stay_inside = field_validator("images")(_confined)


Source = Annotated[DirectorySource | ManifestSource, Field(discriminator="kind")]
