"""The spec: what a training stream is, as pydantic models read from one TOML file.

Owns every field's meaning, unit, default and bounds, and errors that name file, field, value and what is allowed.
Refuses to know sockets, processes and the files that a source lists.
"""

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from penstock.protocol.errors import SpecError
from penstock.protocol.explain import explain

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Model(BaseModel):
    """Base of the spec's models: immutable, and no field passes unread."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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

#: Filters of `resize`: the first six are Pillow's, which widen with the reduction (antialias); the others OpenCV's.
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "area", "linear", "cubic"]


class Resize(Model):
    """Resize the decoded image, before patches are cut."""

    height: int = Field(ge=1, le=65_535)
    """Height in pixels."""
    width: int = Field(ge=1, le=65_535)
    """Width in pixels."""
    filter: Filter = "bilinear"
    """Resampling filter."""
    fit: Literal["stretch", "cover"] = "stretch"
    """`stretch` ignores the aspect ratio; `cover` keeps it, and cuts what sticks out evenly from both sides."""


class Patch(Model):
    """Cut patches from the (resized) image."""

    kind: Literal["center", "random", "grid"] = "center"
    """`center`: one; `random`: uniform over all offsets; `grid`: rows × columns, evenly spaced, edge to edge."""
    height: int = Field(ge=1, le=65_535)
    """Height in pixels."""
    width: int = Field(ge=1, le=65_535)
    """Width in pixels."""
    rows: int = Field(default=1, ge=1)
    """Rows of the grid."""
    columns: int = Field(default=1, ge=1)
    """Columns of the grid."""


class Augment(Model):
    """Random changes, drawn per sample."""

    horizontal_flip: bool = False
    """Mirror left and right with probability one half."""


class Transform(Model):
    """What a worker makes of an image."""

    color: Literal["rgb", "gray"] = "rgb"
    """Channels of the result: 3 or 1."""
    exif_orientation: bool = False
    """Turn the image as its EXIF orientation tag says."""
    resize: Resize | None = None
    """Resize first; without it patches come from the full-size image."""
    patch: Patch | None = None
    """Cut patches; without it the whole resized image is the sample."""
    augment: Augment = Augment()
    """Random changes."""
    max_megapixels: float = Field(default=200.0, gt=0)
    """Images with more pixels than this (millions) are quarantined before they are decoded."""
    max_file_mb: float = Field(default=256.0, gt=0)
    """Files larger than this (MB, 10^6 bytes) are quarantined unread."""

    @model_validator(mode="after")
    def _size_is_fixed(self) -> "Transform":
        if self.resize is None and self.patch is None:
            raise ValueError("samples need one shape: give resize = {height, width}, patch = {height, width}, or both")
        if self.resize and self.patch:
            for side in ("height", "width"):
                if getattr(self.patch, side) > getattr(self.resize, side):
                    raise ValueError(
                        f"patch.{side} = {getattr(self.patch, side)} is larger than resize.{side} = "
                        f"{getattr(self.resize, side)}: make the patch smaller or the resized image larger"
                    )
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (height, width, channels) of a sample's image."""
        size = self.patch or self.resize
        assert size is not None  # noqa: S101 - _size_is_fixed
        return size.height, size.width, 3 if self.color == "rgb" else 1


class Stream(Model):
    """One stream: a source, a transform and how samples become batches."""

    source: Source
    """Where the items come from."""
    transform: Transform
    """What a worker makes of each item."""
    patches: int = Field(default=1, ge=1, le=1_000_000)
    """Samples that each item yields."""
    mix: int = Field(default=1, ge=1, le=1_000_000)
    """Mix window: this many consecutive items of the shuffled order have their samples permuted together."""
    shuffle: bool = True
    """A new order every epoch; false: the source's own order."""
    shard: Annotated[str, Field(pattern=r"^[1-9][0-9]*/[1-9][0-9]*$")] = "1/1"
    """`k/n`: every n-th item starting with the k-th, for n jobs that split one source."""
    batch_size: int = Field(default=32, ge=1, le=1_000_000)
    """Samples in a batch."""
    drop_remainder: bool = False
    """Drop an epoch's last batch if it is not full."""
    failure_budget: float = Field(default=0.05, ge=0.0, le=1.0)
    """Fraction of an epoch's items, rounded up, that may be quarantined before the stream stops; 0 to 1."""
    window_mb: float = Field(default=256.0, gt=0)
    """Memory (MB, 10^6 bytes) of samples that the sink may hold ahead of a trainer; never below two batches."""
    task_items: int | None = Field(default=None, ge=1, le=4096)
    """Items in a task; default: about 2 MB of samples. Rounded so that tasks and mix windows nest."""

    @model_validator(mode="after")
    def _parts_agree(self) -> "Stream":
        index, count = self.shard_of
        if index >= count:
            raise ValueError(f"shard = {self.shard!r}: the first number must not exceed the second")
        patch = self.transform.patch
        if patch is None or patch.kind == "center":
            if self.patches != 1:
                raise ValueError(f"patches = {self.patches} needs transform.patch.kind = 'random' or 'grid'")
        elif patch.kind == "grid" and self.patches != patch.rows * patch.columns:
            raise ValueError(
                f"patches = {self.patches} but the grid has {patch.rows} × {patch.columns} cells: make them equal"
            )
        return self

    @property
    def shard_of(self) -> tuple[int, int]:
        """The shard as (index from 0, count)."""
        index, count = self.shard.split("/")
        return int(index) - 1, int(count)


class Spec(Model):
    """One or more streams under one seed."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of every order and every random draw; 0 to 2^63 - 1."""
    roots: dict[Name, str] = {}
    """Where each named root lies on this host; relative paths start at the spec file's folder. Not part of the
    fingerprint: other hosts map their own with `--root name=/path`."""
    streams: dict[Name, Stream] = Field(min_length=1)
    """The streams by name, such as `train` and `validation`."""


def load_spec(path: str | Path) -> Spec:
    """Read a spec from a TOML file (or JSON, by its suffix); relative roots are resolved against the file's folder.

    Raises SpecError with the file, the field, the value and what is allowed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SpecError(f"{path}: cannot read the spec: {error.strerror}; give the path of a TOML file") from error
    except ValueError as error:  # of TOML, JSON and UTF-8 alike
        raise SpecError(f"{path}: not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error
    return parse_spec(data, base=path.parent, name=str(path))


def parse_spec(data: Mapping[str, Any], *, base: Path | None = None, name: str = "spec") -> Spec:
    """Check a spec given as a mapping; `base` is where relative roots start, `name` stands in errors for the file.

    Raises SpecError.
    """
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        raise SpecError("\n".join(explain(name, problem, Spec) for problem in error.errors())) from None
    roots = {
        key: str((base or Path.cwd()).joinpath(Path(root).expanduser()).absolute()) for key, root in spec.roots.items()
    }
    for stream, settings in spec.streams.items():
        if roots and settings.source.root not in roots:
            raise SpecError(
                f"{name}: streams.{stream}.source.root = {settings.source.root!r}: no such root; "
                f"[roots] has {', '.join(sorted(roots))}"
            )
    return spec.model_copy(update={"roots": roots})


def default_task_items(stream: Stream, sample_bytes: int) -> int:
    """Return how many items make a task: `task_items`, or about 2 MB of samples, nested with the mix window."""
    #: A task near this size (bytes) makes the cost of handing it over small beside decoding, and still balances.
    target_bytes = 2_000_000
    wanted = stream.task_items or max(1, min(256, target_bytes // (sample_bytes * stream.patches)))
    if wanted >= stream.mix:
        return wanted // stream.mix * stream.mix
    return max(divisor for divisor in _divisors(stream.mix) if divisor <= wanted)


def _divisors(number: int) -> list[int]:
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return small + [number // divisor for divisor in small]
