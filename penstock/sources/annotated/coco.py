"""The source kind "coco": the annotations of COCO, one JSON file for all images."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.source import Source, confined
from penstock.sources.annotated.listed import add_image, check_columns, opened
from penstock.sources.base import Roots, SourceKind
from penstock.sources.file_listing import FileListing, ListingBuilder, prefix_of, subset_of
from penstock.sources.file_reader import open_files
from penstock.sources.manifest_rows import cell_of
from penstock.sources.tables.formats import row_name

Record = dict[str, Any]


class CocoSource(Source):
    """Images and annotations of COCO: a JSON file with `images`, `annotations` and `categories`.

    Columns for targets: `boxes` (`[x, y, width, height, category, id]` of each annotation), `keypoints` (the flat list
    of each annotation that has one), `polygons` (`[category, [x, y, …], …]` of each annotation that has them),
    `labels` (the categories of an image), `caption` (the first one) and `captions` (all of them); and every field of
    the records in `images`, such as `id`. Crowds (`iscrowd`) are left out, and so are annotations of images that the
    file does not list. Images have no class: `label` is -1.
    """

    kind: Literal["coco"]
    """Says that these are COCO's annotations."""
    path: str = Field(min_length=1)
    """JSON file below the root, such as `annotations/instances_train2017.json`."""
    images: str = ""
    """Folder below the root that the images' `file_name` is relative to, such as `train2017`."""
    skip_empty: bool = False
    """Leave out the images that have no annotations, or only crowds."""

    _stay_inside = field_validator("path", "images")(confined)


def list_coco(source: CocoSource, roots: Roots, columns: Sequence[str] = ()) -> FileListing:
    """Return the images of a file, with their annotations. Raises SourceError."""
    with opened(source, roots, source.path) as (file, name):
        try:
            content = json.load(file)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{name}: not valid JSON: {error}") from error
    images = _records(content, "images", name)
    check_columns(source, columns, {*_COLUMNS, *(images[0] if images else ())})
    categories = {each.get("id"): each.get("name") for each in _records(content, "categories", name, needed=False)}
    annotations: defaultdict[object, list[Record]] = defaultdict(list)
    for each in _records(content, "annotations", name):
        if not each.get("iscrowd"):
            each["category"] = categories.get(each.get("category_id"), f"category_id {each.get('category_id')}")
            annotations[each.get("image_id")].append(each)
    listing = _listed(source, columns, images, annotations, name)
    return subset_of(source, listing, f"root {source.root!r}, {source.path!r}")


def _listed(
    source: CocoSource,
    columns: Sequence[str],
    images: Sequence[Record],
    annotations: defaultdict[object, list[Record]],
    name: str,
) -> FileListing:
    builder, prefix = ListingBuilder(), prefix_of(source.images)
    for place, image in enumerate(images):
        if not isinstance(number := image.get("id"), int | str):
            raise SourceError(f"{name}: images[{place}].id = {number!r}: must be a number or text")
        own = annotations[number]
        if source.skip_empty and not own:
            continue
        add_image(builder, prefix, image.get("file_name"), f"{name}, images[{place}].file_name")
        if columns:
            row = number if isinstance(number, int) and number >= 0 else None
            where = row_name(name, row) if row is not None else f"{name}, image id {number!r}"
            values = [_COLUMNS[column](own) if column in _COLUMNS else image.get(column) for column in columns]
            builder.add_cells(
                row,
                [cell_of(value, f"{where}: {column}") for value, column in zip(values, columns, strict=True)],
            )
    if not len(builder):
        raise SourceError(f"{name}: lists no images" + (" with annotations" if source.skip_empty else ""))
    return builder.build(source.kind_name, source.classes or ())


def _records(content: object, key: str, name: str, *, needed: bool = True) -> list[Record]:
    """Return a list of the file. Raises SourceError."""
    found = content.get(key, None if needed else []) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise SourceError(f"{name}: {key!r} must be a list: COCO's file has images, annotations and categories")
    for place, each in enumerate(found):
        if not isinstance(each, dict):
            raise SourceError(f"{name}: {key}[{place}] = {str(each)[:60]}: must be an object")
    return found


def _boxes(annotations: Sequence[Record]) -> list[Any]:
    return [[*_list(each, "bbox"), each["category"], each.get("id")] for each in annotations if "bbox" in each]


def _list(annotation: Record, key: str) -> list[Any]:
    """Return a list; what is none, as its only entry, so that a worker names it."""
    found = annotation[key]
    return found if isinstance(found, list) else [found]


def _polygons(annotations: Sequence[Record]) -> list[Any]:
    return [
        [each["category"], *each["segmentation"]] for each in annotations if isinstance(each.get("segmentation"), list)
    ]


def _captions(annotations: Sequence[Record]) -> Iterator[str]:
    return (str(each["caption"]) for each in annotations if "caption" in each)


_COLUMNS: dict[str, Callable[[Sequence[Record]], Any]] = {
    "boxes": _boxes,
    "keypoints": lambda annotations: [each["keypoints"] for each in annotations if "keypoints" in each],
    "polygons": _polygons,
    "labels": lambda annotations: sorted({each["category"] for each in annotations}),
    "caption": lambda annotations: next(_captions(annotations), ""),
    "captions": lambda annotations: list(_captions(annotations)),
}

KIND = SourceKind(CocoSource, list_coco, open_files, splits=True, follows_links=True, list_columns=list_coco)
