"""The source kind "voc": a folder in the layout of Pascal VOC."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.source import Source, confined
from penstock.sources.annotated.listed import add_image, check_columns, opened
from penstock.sources.base import Roots, SourceKind
from penstock.sources.file_listing import FileListing, ListingBuilder, prefix_of, subset_of
from penstock.sources.file_reader import open_files

#: The columns, and the folder and suffix of their files.
_COLUMNS = {
    "annotation": ("Annotations", ".xml"),
    "mask": ("SegmentationClass", ".png"),
    "instances": ("SegmentationObject", ".png"),
}


class VocSource(Source):
    """A folder in the layout of Pascal VOC: `JPEGImages`, `ImageSets`, `Annotations`, `SegmentationClass`.

    Columns for targets, each the path of a file below the root: `annotation` (objects, as XML), `mask` (the class of
    every pixel) and `instances` (the object of every pixel). Images have no class: `label` is -1.
    """

    kind: Literal["voc"]
    """Says that this is a folder in Pascal VOC's layout."""
    path: str = ""
    """Folder below the root, such as `VOCdevkit/VOC2012`."""
    image_set: str = Field(default="Main/train", min_length=1)
    """List of the images, the file of this name in `ImageSets`, without `.txt`: `Main/train`, `Segmentation/train`."""
    suffix: str = ".jpg"
    """Suffix of the files in `JPEGImages`."""

    _stay_inside = field_validator("path", "image_set")(confined)


def list_voc(source: VocSource, roots: Roots, columns: Sequence[str] = ()) -> FileListing:
    """Return the images of a set, with the paths of their annotations. Raises SourceError."""
    check_columns(source, columns, _COLUMNS.keys())
    above = prefix_of(source.path)
    builder = ListingBuilder()
    with opened(source, roots, f"{above.decode()}ImageSets/{source.image_set}.txt") as (file, name):
        for number, line in enumerate(file, 1):
            words = line.split()  # the sets of a class have a second word: whether the image shows it
            if not words:
                continue
            add_image(builder, above + b"JPEGImages/", words[0] + source.suffix, f"{name}, line {number}")
            if columns:
                folders = [_COLUMNS[column] for column in columns]
                builder.add_cells(None, [f"{above.decode()}{folder}/{words[0]}{suffix}" for folder, suffix in folders])
    if not len(builder):
        raise SourceError(f"{name}: the list has no images")
    listing = builder.build(source.kind_name, source.classes or ())
    return subset_of(source, listing, f"root {source.root!r}, {source.path!r}")


KIND = SourceKind(VocSource, list_voc, open_files, splits=True, follows_links=True, list_columns=list_voc)
