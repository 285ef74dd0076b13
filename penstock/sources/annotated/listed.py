"""Lists the files below a folder, and opens one file, on this host or below a URL; checks the columns of a kind."""

# Paths are bytes here: names are taken as they are on disk.
# ruff: noqa: PTH123

from collections.abc import Callable, Generator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import IO

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import Source
from penstock.protocol.storage.labels import some
from penstock.sources.base import Roots, root_of
from penstock.sources.file_listing import MAX_PATH_BYTES, ListingBuilder
from penstock.sources.manifest_rows import path_problem
from penstock.sources.paths import Guard, below, exists, is_file, is_folder, show
from penstock.sources.remote import RemoteTree, brought
from penstock.sources.tree import FolderTree


def files_in(source: Source, roots: Roots, folder: str, wanted: Callable[[bytes], bool]) -> list[bytes]:
    """Return the paths below the root of the wanted files below a folder, sorted. Raises SourceError."""
    root = root_of(source.root, roots)
    above, _, name = folder.rpartition("/")
    if is_url(root):
        tree: FolderTree | RemoteTree = RemoteTree(root, above, allow_outside=source.allow_outside)
    else:
        guard = Guard.of(root, source)
        if not is_folder(below(root, folder)):
            hint = "it is a file" if exists(below(root, folder)) else "no such folder"
            raise SourceError(f"{show(below(root, folder))}: {hint} (root {source.root!r})")
        guard.check(below(root, folder))
        tree = FolderTree(below(root, above), above, guard)
    if name.encode() not in tree.folders:
        raise SourceError(f"{tree.name}: no folder {name!r} (root {source.root!r})")
    return sorted(tree.files(name.encode(), wanted))


@contextmanager
def opened(source: Source, roots: Roots, path: str) -> Generator[tuple[IO[str], str]]:
    """Open a text file below the root; yield it, and its name for messages. Raises SourceError."""
    root = root_of(source.root, roots)
    if is_url(root):
        with brought(root, path, allow_outside=source.allow_outside) as (place, name), _read(place, name) as file:
            yield file, name
        return
    place = below(root, path)
    if not is_file(place):
        raise SourceError(f"{show(place)}: no such file (root {source.root!r})")
    Guard.of(root, source).check(place)
    with _read(place, show(place)) as file:
        yield file, show(place)


@contextmanager
def _read(place: bytes, name: str) -> Generator[IO[str]]:
    try:
        with open(place, encoding="utf-8-sig") as file:
            yield file
    except OSError as error:
        raise SourceError(f"{name}: cannot read the file: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: not UTF-8 text: {error}; save it as UTF-8") from error


def check_columns(source: Source, wanted: Sequence[str], known: AbstractSet[str]) -> None:
    """Raise SourceError if targets read a column that a source does not have."""
    for column in wanted:
        if column not in known:
            raise SourceError(
                f"targets read column {column!r}, and this source of kind {source.kind_name!r} has: "
                f"{some(sorted(known)) or 'none'}"
            )


def add_image(builder: ListingBuilder, prefix: bytes, path: object, where: str) -> None:
    """Add an image without a class. Raises SourceError, which begins with `where`, if its path is not taken."""
    if problem := path_problem(path):
        raise SourceError(f"{where} = {path!r}: {problem}")
    raw = prefix + str(path).encode()
    if len(raw) > MAX_PATH_BYTES:
        raise SourceError(f"{where}: the path below the root is longer than {MAX_PATH_BYTES} bytes")
    builder.add(raw, -1)
