"""Finds the files that a source's `path` names: braces as in `train-{000..009}.tar`, and `*`, `?` and `[…]`."""

import glob
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import confined
from penstock.protocol.storage.urls import Remote

#: Most files that braces may name: a typing error such as {0..9999999999} must not fill the memory.
_MOST = 100_000
#: The innermost braces of a pattern.
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")


def expand(pattern: str) -> list[str]:
    """Return the paths or wildcards that a pattern's braces stand for, in the pattern's order. Raises ValueError."""
    found: list[str] = []
    for path in _expand(pattern):
        found.append(confined(path))
        if len(found) > _MOST:
            raise ValueError(f"{pattern!r}: the braces name more than {_MOST:,} files")
    return found


def _expand(pattern: str) -> Iterator[str]:
    braces = _BRACES.search(pattern)
    if braces is None:
        if "{" in pattern or "}" in pattern:
            raise ValueError(f"{pattern!r}: a brace without its other half")
        yield pattern
        return
    for choice in _choices(braces[1], pattern):
        yield from _expand(pattern[: braces.start()] + choice + pattern[braces.end() :])


def _choices(inside: str, pattern: str) -> Iterator[str]:
    if "," in inside:
        yield from inside.split(",")
        return
    bounds = _RANGE.fullmatch(inside)
    if bounds is None:
        raise ValueError(f"{pattern!r}: braces hold a range such as {{000..009}}, or names with commas, not {inside!r}")
    first, last = bounds.groups()
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    step = 1 if int(first) <= int(last) else -1
    numbers = range(int(first), int(last) + step, step)
    if len(numbers) > _MOST:
        raise ValueError(f"{pattern!r}: the braces name more than {_MOST:,} files")
    for number in numbers:
        yield f"{number:0{width}}"


def find_shards(pattern: str, root: str, *, allow_outside: bool) -> list[str]:
    """Return the path below the root of every file that a pattern names. Wildcards give theirs sorted by bytes.

    A file without wildcards is not looked for. Raises SourceError if wildcards match nothing, or a file is named twice.
    """
    found: list[str] = []
    for path in expand(pattern):
        if not glob.has_magic(path):
            found.append(path)
            continue
        if "**" in path:
            raise SourceError(f"source.path = {pattern!r}: '**' is not supported: name the folders, as in 'a/*/*.tar'")
        matches = _remote_matches(path, root, allow_outside=allow_outside) if is_url(root) else _matches(path, root)
        if not matches:
            raise SourceError(f"source.path = {pattern!r}: no file of the root matches {path!r}")
        found += matches
    path, count = Counter(found).most_common(1)[0]
    if count > 1:
        raise SourceError(f"source.path = {pattern!r} names {path!r} {count} times: name each shard once")
    return found


def _matches(path: str, root: str) -> list[str]:
    found = glob.glob(path, root_dir=root)  # noqa: PTH207 - paths below the root, as text
    try:
        return sorted(found, key=str.encode)
    except UnicodeEncodeError as error:
        raise SourceError(f"{error.object!r}: the name is not valid UTF-8, so no message can carry it") from None


def _remote_matches(path: str, root: str, *, allow_outside: bool) -> list[str]:
    parts = path.split("/")
    plain = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    folder, wanted = "/".join(parts[:plain]), parts[plain:]
    prefix = f"{folder}/" if folder else ""
    return sorted(
        (
            prefix + file
            for file in Remote(root, allow_outside=allow_outside).walk(folder)
            if len(names := file.split("/")) == len(wanted) and all(map(fnmatchcase, names, wanted))
        ),
        key=str.encode,
    )
