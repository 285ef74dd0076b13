"""The kind "arrays": images in a `.npy` or `.npz` file; an item is a row."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.source import Source, confined
from penstock.protocol.storage.rows import SourceRows, open_rows
from penstock.sources.base import Roots, SourceKind, root_of
from penstock.sources.row_listing import RowListing, list_rows
from penstock.sources.row_reader import RowReader


class ArraySource(Source):
    """Images in a `.npy` or `.npz` file, which every worker maps into its memory: an item is a row.

    uint8 of shape (N, height, width) or (N, height, width, channels): gray, red, green, blue, or these and alpha; or
    another number type whose values are all whole, 0 to 255, which becomes the same uint8.
    """

    kind: Literal["arrays"]
    """Says that this is an array."""
    images: Annotated[str, Field(min_length=1)]
    """The images below the root: `x.npy`, or `set.npz/x` for the member x of an .npz file."""
    labels: str = ""
    """The labels, named likewise: N numbers, of shape (N,) or (N, 1). Whole numbers from 0 on are class indices; if
    some are negative or fractional, each different number is a class. Default: none, `label` is -1."""

    _paths_stay_inside = field_validator("images", "labels")(confined)


def open_arrays(source: ArraySource, root: str) -> SourceRows:
    """Open the arrays below a folder of this host. Raises SourceError."""
    from penstock.protocol.storage.rows_numpy import open_member  # noqa: PLC0415 - only where arrays are read

    images = open_member(root, source.images, allow_outside=source.allow_outside)
    labels = open_member(root, source.labels, allow_outside=source.allow_outside) if source.labels else None
    return open_rows(source, images, labels, None)


def _list(source: ArraySource, roots: Roots) -> RowListing:
    return list_rows(open_arrays(source, root_of(source.root, roots)))


def _reader(source: ArraySource, plan: StreamPlan, roots: Roots) -> RowReader:
    root = str(roots[source.root])
    return RowReader(plan, open_arrays(source, root), root)


KIND = SourceKind(ArraySource, _list, _reader, splits=True, follows_links=True)
