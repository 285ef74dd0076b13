"""Sources to listings: the one entry, and directory trees. Owns what counts as an image and where links may lead.

Refuses to know streams, shards and the images' content: nothing is opened, and of a tree's files none is even stat'ed,
unless a file is a symbolic link. Order does not depend on the host: class by class, and in a class by the paths' bytes.
"""

# Paths are bytes here: names are taken as they are on disk.
# ruff: noqa: PTH110, PTH112, PTH113, PTH114, PTH116, PTH118

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, overload

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import DirectorySource, FileSource, ManifestSource, RowSource, Source
from penstock.ventilator.sources.listing import MAX_PATH_BYTES, Listing, ListingBuilder, prefix_of
from penstock.ventilator.sources.manifest import list_manifest
from penstock.ventilator.sources.remote import RemoteTree, brought
from penstock.ventilator.sources.rows import RowListing, list_rows

#: Suffixes of image files, in any case.
SUFFIXES = frozenset({b"jpg", b"jpeg", b"png", b"webp", b"bmp", b"gif", b"tif", b"tiff", b"ppm"})

_Identity = tuple[int, int]  # device and inode


@overload
def list_source(source: FileSource, roots: Mapping[str, str]) -> Listing: ...
@overload
def list_source(source: RowSource, roots: Mapping[str, str]) -> RowListing: ...
@overload
def list_source(source: Source, roots: Mapping[str, str]) -> Listing | RowListing: ...
def list_source(source: Source, roots: Mapping[str, str]) -> Listing | RowListing:
    """Return the items of a source; `roots` maps the names of roots to this host's folders.

    With a `subset`, the listing holds that subset only, and indices count within it. Raises SourceError.
    """
    root = _root(source.root, roots)
    if source.classes is not None:
        _check_classes(source.classes)
    if isinstance(source, RowSource):
        return list_rows(source, root)
    if isinstance(source, ManifestSource):
        listing = _list_manifest(source, root, _root(source.manifest_root or source.root, roots))
    else:
        listing = _list_tree(source, root) if is_url(root) else _list_directory(source, os.fsencode(root))
    return listing if source.subset == "all" else _part(source, listing)


def _root(name: str, roots: Mapping[str, str]) -> str:
    if name not in roots:
        known = ", ".join(sorted(roots)) or "none"
        raise SourceError(
            f"no folder is mapped to root {name!r} (mapped: {known}): give --root {name}=/path, "
            "or name it in the spec's [roots]"
        )
    root = roots[name]
    if not is_url(root) and not os.path.isdir(root):
        raise SourceError(f"root {name!r}: no folder {root}: mount it, or give --root {name}=/path")
    return root


def _list_manifest(source: ManifestSource, root: str, holder: str) -> Listing:
    """List the manifest `source.path` below `holder`; images lie below `root`."""
    if is_url(holder):
        with brought(source, holder) as (place, name):
            return list_manifest(source, place, name)
    place = _below(holder, source.path)
    if os.path.isfile(place):
        Guard.of(holder, source).check(place)
        if not is_url(root):
            _check_images(source, root)
    return list_manifest(source, place, show(place))


def _check_images(source: ManifestSource, root: str) -> None:
    images = _below(root, source.images)
    if not os.path.isdir(images):
        raise SourceError(f"{show(images)}: root {source.root!r} has no folder {source.images!r} (source.images)")
    Guard.of(root, source).check(images)


def _below(root: str, path: str) -> bytes:
    return os.path.join(os.fsencode(root), path.encode()) if path else os.fsencode(root)


def _part(source: FileSource, listing: Listing) -> Listing:
    part = listing.split(source.validation_split, validation=source.subset == "validation")
    if not len(part):
        raise SourceError(
            f"root {source.root!r}, {source.path!r}: subset {source.subset!r} of {len(listing)} items is empty at "
            f"validation_split = {source.validation_split}: choose another fraction"
        )
    return part


def show(path: bytes) -> str:
    """Return a path for a message, whatever its bytes."""
    return path.decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Guard:
    """Where links may lead."""

    #: The root without symbolic links.
    root: bytes
    allow_outside: bool

    @classmethod
    def of(cls, root: str, source: FileSource) -> Self:
        """Return the guard of a folder of this host."""
        return cls(os.path.realpath(os.fsencode(root)), allow_outside=source.allow_outside)

    def check(self, path: bytes) -> None:
        """Raise SourceError if `path` leads out of the root and must not."""
        if self.allow_outside:
            return
        target = os.path.realpath(path)
        if target != self.root and not target.startswith(self.root.rstrip(b"/") + b"/"):
            raise SourceError(
                f"{show(path)} leads outside its root, to {show(target)}: set allow_outside = true to permit it, "
                "or widen the root"
            )


def _check_classes(classes: Sequence[str]) -> None:
    if not classes:
        raise SourceError("classes = []: name at least one class, or leave the field out to take all that are found")
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise SourceError(f"classes: {twice[0]!r} is given twice")


def _list_tree(source: DirectorySource, url: str) -> Listing:
    tree = RemoteTree(url, source.path, allow_outside=source.allow_outside)
    prefix = prefix_of(source.path)

    def images(name: bytes) -> list[bytes]:
        return [prefix + path for path in tree.folders[name] if _is_image(path.rpartition(b"/")[2])]

    beside = sum(map(_is_image, tree.beside))
    return _list_classes(source, tree.name, set(tree.folders), beside, images)


def _list_directory(source: DirectorySource, root: bytes) -> Listing:
    guard = Guard(os.path.realpath(root), allow_outside=source.allow_outside)
    place = os.path.join(root, source.path.encode()) if source.path else root
    if not os.path.isdir(place):
        hint = "it is a file: for a manifest give kind = 'manifest'" if os.path.exists(place) else "no such folder"
        raise SourceError(f"{show(place)}: {hint} (source.path = {source.path!r} in root {source.root!r})")
    guard.check(place)
    folders, beside = _class_folders(place)
    prefix = prefix_of(source.path)
    return _list_classes(source, show(place), folders, beside, lambda name: _walk(place, prefix, name, guard))


def _list_classes(
    source: DirectorySource, place: str, folders: set[bytes], beside: int, images: Callable[[bytes], Iterable[bytes]]
) -> Listing:
    """List class by class; `images` returns the paths of a folder's images, and `beside` are in none of them."""
    classes = source.classes if source.classes is not None else tuple(folder.decode() for folder in sorted(folders))
    if not classes:
        hint = f", but {beside} images: put each class into a folder of its own" if beside else ""
        raise SourceError(f"{place} holds no folder that could be a class{hint}")
    builder = ListingBuilder()
    for label, name in enumerate(classes):
        if name.encode() not in folders:
            known = ", ".join(sorted(map(show, folders))[:20]) or "none"
            raise SourceError(f"class {name!r} has no folder in {place}; folders there: {known}")
        before = len(builder)
        for path in sorted(images(name.encode())):
            if len(path) > MAX_PATH_BYTES:
                raise SourceError(f"{place}: {show(path)}: the path is longer than {MAX_PATH_BYTES} bytes")
            builder.add(path, label)
        if len(builder) == before:
            kinds = ", ".join(sorted(map(show, SUFFIXES)))
            raise SourceError(
                f"class {name!r} has no images: {place}/{name} holds no file that ends in {kinds}; "
                "remove the folder, or give the classes to use as source.classes"
            )
    return builder.build(source.kind, classes)


def _class_folders(place: bytes) -> tuple[set[bytes], int]:
    """Return the folders directly in `place`, and how many images lie beside them."""
    folders, images = set(), 0
    for entry in _entries(place):
        if _is_folder(entry):
            folders.add(entry.name)
            _check_name(entry)
        else:
            images += _is_image(entry.name)
    return folders, images


def _walk(place: bytes, prefix: bytes, name: bytes, guard: Guard) -> Iterator[bytes]:
    """Yield the path below the root (`prefix` + below `place`) of every image in the class folder `name`.

    A link to a folder that one is already in leads in a circle and is not followed: what it holds is listed anyway.
    """
    start = os.path.join(place, name)
    if os.path.islink(start):
        guard.check(start)
    pending: list[tuple[bytes, bytes, frozenset[_Identity]]] = [(start, prefix + name + b"/", frozenset())]
    while pending:
        folder, below, above = pending.pop()
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            continue
        for entry in _entries(folder):
            image = _is_image(entry.name)
            is_folder = _is_folder(entry)
            if not image and not is_folder:
                continue
            _check_name(entry)
            if entry.is_symlink():
                guard.check(entry.path)
            path = below + entry.name
            if len(path) > MAX_PATH_BYTES:
                raise SourceError(f"{show(entry.path)}: the path below the root is longer than {MAX_PATH_BYTES} bytes")
            if is_folder:
                pending.append((entry.path, path + b"/", above | {identity}))
            else:
                yield path


def _entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    """Yield what a folder holds, hidden entries left out."""
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if not entry.name.startswith(b"."):
                    yield entry
    except OSError as error:
        raise SourceError(f"{show(folder)}: cannot read the folder: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle: if its name is an image's, the worker will say what is wrong with it
        return False


def _is_image(name: bytes) -> bool:
    _, dot, suffix = name.rpartition(b".")
    return bool(dot) and suffix.lower() in SUFFIXES


def _check_name(entry: os.DirEntry[bytes]) -> None:
    try:
        entry.name.decode()
    except UnicodeDecodeError:
        raise SourceError(
            f"{show(entry.path)}: the name is not valid UTF-8, so no message can carry it: rename the file"
        ) from None
