"""The source kind "directory": a tree of image files with one subfolder per class.

Items are ordered class by class, and in a class by the bytes of their paths.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Literal, Protocol

from pydantic import field_validator

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import Source, confined
from penstock.sources.base import Roots, SourceKind, root_of
from penstock.sources.file_listing import MAX_PATH_BYTES, FileListing, ListingBuilder, subset_of
from penstock.sources.file_reader import open_files
from penstock.sources.paths import Guard, below, exists, is_folder, show
from penstock.sources.remote import RemoteTree
from penstock.sources.suffixes import UNCLASSIFIED, suffixes
from penstock.sources.tables.progress import told
from penstock.sources.tree import FolderTree

#: Class folders that are walked at once.
_AT_ONCE = 8


class DirectorySource(Source):
    """A tree of image files with one subfolder per class; nested folders belong to the class above them."""

    kind: Literal["directory"]
    """Says that this is a directory tree."""
    path: str = ""
    """Folder below the root."""

    _paths_stay_inside = field_validator("path")(confined)


class ClassFolders(Protocol):
    """The class folders of a tree, on this host or below a URL."""

    #: The tree, for messages.
    name: str
    #: Files that were found and not listed: how many of each suffix, and how many images in no class folder.
    passed_over: Counter[str]
    #: Set when no walk is needed any more: each ends at its next entry.
    stopped: Event

    @property
    def folders(self) -> AbstractSet[bytes]:
        """The folders' names."""
        ...

    def images(self, name: bytes) -> Iterable[bytes]:
        """Return the path below the root of every image in a class folder."""
        ...


def list_directory(source: DirectorySource, roots: Roots) -> FileListing:
    """Return the images of a tree. Raises SourceError."""
    root = root_of(source.root, roots)
    if is_url(root):
        listing = _list_classes(source, RemoteTree(root, source.path, allow_outside=source.allow_outside))
    else:
        listing = _list_classes(source, _folder_tree(source, root))
    return subset_of(source, listing, f"root {source.root!r}, {source.path!r}")


def _folder_tree(source: DirectorySource, root: str) -> FolderTree:
    place, guard = below(root, source.path), Guard.of(root, source)
    if not is_folder(place):
        hint = "it is a file: for a manifest give kind = 'manifest'" if exists(place) else "no such folder"
        raise SourceError(f"{show(place)}: {hint} (source.path = {source.path!r} in root {source.root!r})")
    guard.check(place)
    return FolderTree(place, source.path, guard)


def _list_classes(source: DirectorySource, tree: ClassFolders) -> FileListing:
    """List class by class."""
    classes = source.classes if source.classes is not None else tuple(name.decode() for name in sorted(tree.folders))
    if not classes:
        loose = tree.passed_over[UNCLASSIFIED]
        hint = f", but {loose} images: put each class into a folder of its own" if loose else ""
        raise SourceError(f"{tree.name} holds no folder that could be a class{hint}")
    builder = ListingBuilder()
    for label, (name, paths) in enumerate(_walked(classes, tree)):
        before = len(builder)
        for path in paths:
            if len(path) > MAX_PATH_BYTES:
                raise SourceError(f"{tree.name}: {show(path)}: the path is longer than {MAX_PATH_BYTES} bytes")
            builder.add(path, label)
        if len(builder) == before:
            kinds = ", ".join(sorted(map(show, suffixes())))
            raise SourceError(
                f"class {name!r} has no images: {tree.name}/{name} holds no file that ends in {kinds}; "
                "remove the folder, or give the classes to use as source.classes"
            )
    return replace(builder.build(source.kind, classes), passed_over=dict(tree.passed_over))


def _walked(classes: Sequence[str], tree: ClassFolders) -> Iterator[tuple[str, list[bytes]]]:
    """Yield each class with its images' paths, sorted. Raises SourceError.

    Some folders are walked at once, since a network file system answers late; never more than are soon needed. After an
    error, or Ctrl-C, those under way are not walked to their end.
    """

    def images(name: str) -> list[bytes]:
        if name.encode() not in tree.folders:
            known = ", ".join(sorted(map(show, tree.folders))[:20]) or "none"
            raise SourceError(f"class {name!r} has no folder in {tree.name}; folders there: {known}")
        return sorted(tree.images(name.encode()))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for first in range(0, len(classes), _AT_ONCE):
                told(f"{100 * first // len(classes)} % of the classes")
                part = classes[first : first + _AT_ONCE]
                yield from zip(part, pool.map(images, part), strict=True)
        except BaseException:  # also when the caller raises
            tree.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


KIND = SourceKind(DirectorySource, list_directory, open_files, splits=True, follows_links=True)
