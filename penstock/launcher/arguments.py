"""Checks the types of what a program gives to `penstock.local` and `penstock.images`: the mistakes of a first try."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.roots import absolute_root


def check_stack(roots: object, folders: Mapping[str, object], dashboard: object) -> None:
    """Raise SpecError where an argument of `penstock.local` is of the wrong type; `folders` are by argument name."""
    if roots is not None:
        _check_roots(roots)
    for name, path in folders.items():
        if path is not None and not isinstance(path, str | os.PathLike):
            raise SpecError(f"{name} = {path!r}: give the path of a folder, or leave it out")
    if not isinstance(dashboard, str):
        raise SpecError(f'dashboard = {dashboard!r}: give "auto", host:port such as "127.0.0.1:5550", or ""')


def check_stream(name: str, streams: Collection[str]) -> None:
    """Raise SpecError unless the spec has a stream of this name."""
    if name not in streams:
        raise SpecError(f"no stream {name!r} in the spec; there are: {', '.join(streams)}")


def cache_options(folder: object) -> dict[str, str]:
    """Return a worker's options for a folder of decoded images; none: the default's. Raises SpecError."""
    if folder is None:
        return {}
    if not isinstance(folder, str | os.PathLike):
        raise SpecError(f"cache = {folder!r}: give the path of a folder, or leave it out")
    return {"cache": absolute_root(os.fspath(folder), Path.cwd())}


def _check_roots(roots: object) -> None:
    hint = 'give a mapping of root names to folders, such as {"images": "/data/photos"}'
    if not isinstance(roots, Mapping):
        raise SpecError(f"roots = {roots!r}: {hint}")
    for name, folder in roots.items():
        if not isinstance(name, str) or not isinstance(folder, str | os.PathLike):
            raise SpecError(f"roots: {name!r} = {folder!r}: {hint}")


def check_images(folder: object, options: Mapping[str, Any]) -> None:
    """Raise SpecError where the folder or an option of `penstock.images` is of the wrong type."""
    if not isinstance(folder, str | os.PathLike) or isinstance(os.fspath(folder), bytes):
        raise SpecError(f"penstock.images({folder!r}): give the path of the folder that holds one subfolder per class")
    augment, classes = options["augment"], options["classes"]
    if augment is not None and not isinstance(augment, Mapping):
        raise SpecError(f'augment = {augment!r}: give a mapping, such as {{"horizontal_flip": True}}')
    if classes is not None and (isinstance(classes, str | bytes) or not hasattr(classes, "__iter__")):
        raise SpecError(f'classes = {classes!r}: give a list of class names, such as ["cats", "dogs"]')
