"""Writes tar shards and lists them."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from penstock.sources.base import Listing, list_source
from penstock.sources.containers.tar import TarSource

#: Names and contents of a shard's members.
Members = Iterable[tuple[str, bytes]]


def write_tar(path: Path, members: Members, mode: Any = "w:") -> None:
    """Write a tar file, compressed if the mode says so."""
    with tarfile.open(path, mode) as file:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))


def sample(key: str, image: bytes, label: str = "cat") -> list[tuple[str, bytes]]:
    """Return the members of an item."""
    return [(f"{key}.jpg", image), (f"{key}.cls", label.encode())]


def tar(root: Path | str, path: str = "train-{00..01}.tar", **fields: Any) -> Listing:
    """List a tar source below `root`."""
    source = TarSource.model_validate({"kind": "tar", "root": "photos", "path": path, **fields})
    return list_source(source, {"photos": str(root)})
