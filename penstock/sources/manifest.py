"""The kind "manifest": a CSV, JSON lines or Parquet file with a row for each image.

The order of the items is that of the rows. A manifest may name a file several times. It may have a hundred million
rows, so the images are not looked at: a worker checks each path when it opens it.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import field_validator

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.model import RootName
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import Source, confined
from penstock.sources.base import Roots, SourceKind, root_of
from penstock.sources.choice.table_rows import TableFields
from penstock.sources.file_listing import Builder, FileListing, ListingBuilder, subset_of
from penstock.sources.file_reader import open_files
from penstock.sources.manifest_rows import Columns, list_rows
from penstock.sources.paths import Guard, below, is_file, is_folder, show
from penstock.sources.remote import brought
from penstock.sources.tables.listing_index import gathered_in_file, indexed


class ManifestSource(TableFields, Source):
    """A CSV, JSON lines (`.jsonl`, `.ndjson`) or Parquet file with a row for each image."""

    kind: Literal["manifest"]
    """Says that this is a manifest."""
    path: str = ""
    """Manifest file below the root."""
    manifest_root: RootName | None = None
    """Named root that the manifest itself lies below; default: `root`. Only the ventilator's host needs it."""
    images: str = ""
    """Folder below the root that the manifest's paths are relative to."""
    path_column: str = "path"
    """Column with the image's path."""
    label_column: str = "label"
    """Column with the class name (or number); empty: images have no class, and `label` is -1."""

    _paths_stay_inside = field_validator("path", "images")(confined)


def list_manifest(source: ManifestSource, roots: Roots, targets: Sequence[str] = ()) -> FileListing:
    """Return the images that a manifest names, with the columns of `targets`. Raises SourceError."""
    root, holder = root_of(source.root, roots), root_of(source.manifest_root or source.root, roots)
    columns = Columns(source.path_column, source.label_column, source.images, source.classes, tuple(targets), source)
    if is_url(holder):
        with brought(holder, source.path, allow_outside=source.allow_outside) as (place, name):
            return _listed(source, columns, place, name)
    else:
        place = below(holder, source.path)
        if not is_file(place):
            raise SourceError(
                f"{show(place)}: no such file (source.path = {source.path!r} in root "
                f"{source.manifest_root or source.root!r})"
            )
        Guard.of(holder, source).check(place)
        if not is_url(root):
            _check_images(source, root)
        return _indexed(source, columns, place)


def _listed(source: ManifestSource, columns: Columns, place: bytes, name: str) -> FileListing:
    """Return the items of a manifest that was brought from a URL; its copy here is not there long."""
    if columns.targets:
        return _made(source, columns, place, name, ListingBuilder)
    return gathered_in_file(lambda begin: _made(source, columns, place, name, begin))


def _indexed(source: ManifestSource, columns: Columns, place: bytes) -> FileListing:
    """Return the items of a manifest on this host, from the index of a former start if there is one."""
    if columns.targets:
        return _made(source, columns, place, show(place), ListingBuilder)
    fields = {"path_column", "label_column", "images", "classes", "validation_split", "subset"}
    told = source.model_dump(mode="json", include=fields)
    if columns.choosing.choosing_columns:
        told |= source.model_dump(mode="json", include={"where", "weight_column"})
    return indexed(place, told, lambda begin: _made(source, columns, place, show(place), begin))


def _made(
    source: ManifestSource, columns: Columns, place: bytes, name: str, begin: Callable[[], Builder]
) -> FileListing:
    """Read a manifest."""
    listing = list_rows(columns, place, name, begin)
    return subset_of(source, listing, f"root {source.root!r}, {source.path!r}", begin)


def _check_images(source: ManifestSource, root: str) -> None:
    images = below(root, source.images)
    if not is_folder(images):
        raise SourceError(f"{show(images)}: root {source.root!r} has no folder {source.images!r} (source.images)")
    Guard.of(root, source).check(images)


KIND = SourceKind(
    ManifestSource, list_manifest, open_files, splits=True, follows_links=True, list_columns=list_manifest
)
