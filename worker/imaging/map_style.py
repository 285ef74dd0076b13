"""Map-style datasets of the user, `dataset[index]`, as a custom transform: the dataset is named by its import path.

The spec holds the path and the arguments, never code. A worker imports only what it was started with permission for
(`--dataset`), since importing and calling what a message names would let a false ventilator run anything.
"""

import os
import random
import sys
from collections.abc import Callable, Collection, Mapping
from pkgutil import resolve_name
from typing import Any

import numpy as np

from penstock.protocol.errors import SpecError
from penstock.protocol.wire import Array

#: The custom transform's name in a spec; no package can publish another under it.
NAME = "penstock.map_style"

Sample = dict[str, Array]


def _check_path(path: str) -> None:
    """Raise SpecError if a path is not `module:attribute`."""
    module, colon, attribute = path.partition(":")
    if not colon or not all(part.isidentifier() for name in (module, attribute) for part in name.split(".")):
        raise SpecError(f"dataset {path!r}: give module:Class, such as my_data.photos:Photos")


def open_dataset(path: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the user's own class
    """Import a dataset's class, or a function that makes one, and call it. Raises SpecError."""
    _check_path(path)
    try:
        dataset = resolve_name(path)(**arguments)
    except (Exception, SystemExit) as error:  # code of the user: any error may leave it
        raise SpecError(f"dataset {path!r} cannot be made here: {type(error).__name__}: {error}") from error
    for method in ("__len__", "__getitem__"):
        if not hasattr(dataset, method):
            raise SpecError(f"dataset {path!r} is {type(dataset).__name__}, without {method}: give a map-style dataset")
    return dataset


def fields_of(sample: object, names: tuple[str, ...]) -> Sample:
    """Return what a dataset's `__getitem__` returned as arrays by field. Raises ValueError."""
    if isinstance(sample, Mapping):
        values = {str(name): value for name, value in sample.items()}
    else:
        row = tuple(sample) if isinstance(sample, tuple | list) else (sample,)
        if len(row) != len(names):
            raise ValueError(f"the sample has {len(row)} values, and the fields are {', '.join(names)}")
        values = dict(zip(names, row, strict=True))
    return {name: np.asarray(value) for name, value in values.items()}


def load_map_style(
    where: str, parameters: Mapping[str, Any], permitted: Collection[str]
) -> Callable[[Sample, np.random.Generator], Sample]:
    """Return the transform that replaces a sample by the dataset's item of the same index.

    Raises SpecError if this process was not permitted to import the dataset, or cannot make it.
    """
    path = str(parameters.get("dataset"))
    if path not in permitted:
        raise SpecError(
            f"{where}: dataset {path!r} is code that this process has no permission to import (permitted: "
            f"{', '.join(sorted(permitted)) or 'none'}): start the worker with --dataset={path}"
        )
    dataset = open_dataset(path, parameters.get("arguments", {}))
    names = tuple(map(str, parameters.get("fields", ())))

    def load_item(sample: Sample, rng: np.random.Generator, **_: object) -> Sample:
        seed_libraries(rng)
        return {**sample, **fields_of(dataset[int(sample["item"])], names)}

    return load_item


def seed_libraries(rng: np.random.Generator) -> None:
    """Seed the generators that datasets draw from: an item's draws depend on its position in the stream only."""
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the dataset's own draws may use it
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


def import_from(folders: Collection[str]) -> None:
    """Let this process import modules from more folders, after those where it looks already."""
    sys.path.extend(folder for folder in map(os.path.abspath, folders) if folder not in sys.path)
