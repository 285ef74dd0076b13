"""The kind "hdf5": images in a data set of an HDF5 file; an item is a row."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.source import Source, confined
from penstock.protocol.storage.rows import SourceRows, open_rows
from penstock.sources.base import Roots, SourceKind, root_of
from penstock.sources.row_listing import RowListing, list_rows
from penstock.sources.row_reader import RowReader


class Hdf5Source(Source):
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

    _paths_stay_inside = field_validator("path")(confined)


def open_set(source: Hdf5Source, root: str) -> SourceRows:
    """Open the data sets below a folder of this host. Raises SourceError."""
    from penstock.protocol.storage.rows_hdf5 import Place, open_data_sets  # noqa: PLC0415 - an extra, slow to import

    place = Place(source.path, source.images, source.labels, allow_outside=source.allow_outside)
    return open_rows(source, *open_data_sets(place, root))


def _list(source: Hdf5Source, roots: Roots) -> RowListing:
    return list_rows(open_set(source, root_of(source.root, roots)))


def _reader(source: Hdf5Source, plan: StreamPlan, roots: Roots) -> RowReader:
    root = str(roots[source.root])
    return RowReader(plan, open_set(source, root), root)


KIND = SourceKind(Hdf5Source, _list, _reader, splits=True)
