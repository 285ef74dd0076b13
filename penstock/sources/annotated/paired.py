"""The source kinds "paired" and "yolo": a folder of images, and files of the same names in other folders."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.model import Name
from penstock.protocol.spec.source import Source, confined
from penstock.sources.annotated.listed import check_columns, files_in
from penstock.sources.base import Roots, SourceKind
from penstock.sources.file_listing import FileListing, ListingBuilder, subset_of
from penstock.sources.file_reader import open_files
from penstock.sources.suffixes import is_image

_Folder = Annotated[str, Field(min_length=1), AfterValidator(confined)]


class PairedSource(Source):
    """A folder of images, at any depth, and files of the same names in folders next to it, such as masks.

    Each entry of `paired` is a column for targets, and holds the path below the root of the file that has the image's
    name but for the suffix; it is empty for an image without one. Images have no class: `label` is -1.
    """

    kind: Literal["paired"]
    """Says that these are images with files next to them."""
    path: _Folder
    """Folder of the images below the root, such as `images/train`."""
    paired: dict[Name, _Folder] = Field(min_length=1)
    """Folder below the root for each column, such as `{ mask = "masks/train" }`."""


class YoloSource(Source):
    """A folder of images, and a folder with a YOLO label file (`.txt`) for each image that has objects.

    The column `labels` holds the path of the label file below the root, and is empty for an image without one. Images
    have no class: `label` is -1.
    """

    kind: Literal["yolo"]
    """Says that this is a folder in YOLO's layout."""
    path: _Folder
    """Folder of the images below the root, such as `images/train`."""
    labels: str = ""
    """Folder of the label files below the root; default: `path` with its last part `images` replaced by `labels`."""

    _stays_inside = field_validator("labels")(confined)

    @property
    def label_folder(self) -> str:
        """The folder of the label files below the root."""
        parts = self.path.split("/")
        if self.labels or "images" not in parts:
            return self.labels or self.path
        last = len(parts) - 1 - parts[::-1].index("images")
        return "/".join([*parts[:last], "labels", *parts[last + 1 :]])


def list_paired(source: PairedSource, roots: Roots, columns: Sequence[str] = ()) -> FileListing:
    """Return the images of a folder, with the files next to them. Raises SourceError."""
    check_columns(source, columns, source.paired.keys())
    folders = {column: (source.paired[column], "") for column in columns}
    return _list(source, source.path, folders, roots)


def list_yolo(source: YoloSource, roots: Roots, columns: Sequence[str] = ()) -> FileListing:
    """Return the images of a folder, with their label files. Raises SourceError."""
    check_columns(source, columns, {"labels"})
    return _list(source, source.path, dict.fromkeys(columns, (source.label_folder, ".txt")), roots)


def _list(source: Source, path: str, folders: Mapping[str, tuple[str, str]], roots: Roots) -> FileListing:
    """Return the images below `path`; `folders` are those of each column, with the suffix of their files, if given."""
    images = files_in(source, roots, path, is_image)
    if not images:
        raise SourceError(f"root {source.root!r}, {path!r}: the folder holds no images")
    found = [_by_stem(source, roots, folder, suffix) for folder, suffix in folders.values()]
    builder = ListingBuilder()
    for image in images:
        builder.add(image, -1)
        if found:
            stem = _stem(image, path)
            builder.add_cells(None, [files.get(stem, b"").decode() for files in found])
    listing = builder.build(source.kind_name, source.classes or ())
    return subset_of(source, listing, f"root {source.root!r}, {path!r}")


def _by_stem(source: Source, roots: Roots, folder: str, suffix: str) -> dict[bytes, bytes]:
    """Return the files below a folder by their path in it without the suffix. Raises SourceError if two share one."""
    found: dict[bytes, bytes] = {}
    for file in files_in(source, roots, folder, lambda name: name.lower().endswith(suffix.encode())):
        other = found.setdefault(_stem(file, folder), file)
        if other != file:
            raise SourceError(
                f"root {source.root!r}: {other.decode()!r} and {file.decode()!r} have one name but for the suffix: "
                "keep one of them next to the image"
            )
    return found


def _stem(file: bytes, folder: str) -> bytes:
    inside = file[len(folder.encode()) + 1 :]
    head, slash, name = inside.rpartition(b"/")
    return head + slash + (name.rpartition(b".")[0] or name)


PAIRED = SourceKind(PairedSource, list_paired, open_files, splits=True, follows_links=True, list_columns=list_paired)
YOLO = SourceKind(YoloSource, list_yolo, open_files, splits=True, follows_links=True, list_columns=list_yolo)
