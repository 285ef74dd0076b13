"""Roots as a spec names them: a folder or a URL. `protocol/storage/urls.py` reads files below a URL."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: `protocol://…`, or several protocols for fsspec to chain, as in `zip://folder::s3://bucket/photos.zip`.
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+(://|::)")


def is_url(root: str) -> bool:
    """Return whether a root is a URL, not a folder."""
    return _URL.match(root) is not None


def absolute_root(root: str, base: Path) -> str:
    """Return a root as it is (a URL), or as an absolute path; relative ones start at `base`."""
    if root.startswith(("file://", "local://")):  # fsspec would follow links out of it
        root = unquote(urlsplit(root).path)
    return root if is_url(root) else str(base.joinpath(Path(root).expanduser()).absolute())


def root_names(data: object) -> Iterator[str]:
    """Yield the values of all fields of a dumped spec that name a root: `root`, `manifest_root` and the like."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if (key == "root" or str(key).endswith("_root")) and isinstance(value, str):
                yield value
            else:
                yield from root_names(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from root_names(value)
