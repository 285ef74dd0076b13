"""`penstock.torch.ImportedDataset`: a map-style dataset of the user, named so that workers can import and make it.

Nothing is pickled. Each item of the epoch is a row of a tiny array, which `worker/imaging/map_style.py` replaces by the
dataset's item.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import JsonValue, TypeAdapter, ValidationError

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.custom import IDENTITY
from penstock.protocol.spec.spec import as_spec
from penstock.protocol.wire import Array
from penstock.worker.imaging.map_style import NAME, fields_of, open_dataset

#: Items that are tried for the fields of a sample: the first ones may be damaged.
_PROBED = 16
#: The file that stands for the items, a byte for each.
_ITEMS = "items.npy"
_JSON: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


class ImportedDataset:
    """A map-style dataset, named by its class (or a function that makes one) and keyword arguments.

    Arguments are strings, paths, numbers, booleans, lists and dicts of them. `fields` name the values of a tuple that
    `__getitem__` returns; a dict has names of its own.
    """

    def __init__(
        self,
        dataset: str | Callable[..., Any],
        /,
        *,
        fields: tuple[str, ...] = ("image", "label"),
        **arguments: object,
    ) -> None:
        """Check that workers can import it. Raises SpecError."""
        self.path = dataset if isinstance(dataset, str) else _import_path(dataset)
        paths = {name: os.fspath(value) for name, value in arguments.items() if isinstance(value, os.PathLike)}
        try:
            self.arguments = _JSON.validate_python(arguments | paths)
        except ValidationError as error:
            raise SpecError(
                f"dataset {self.path!r}: argument {error.errors()[0]['loc'][0]!r} cannot be sent to workers: give "
                "strings, paths, numbers, booleans, lists and dicts, and let the class make the rest"
            ) from error
        self.fields = fields
        made = open_dataset(self.path, self.arguments)
        self._length = len(made)
        #: Whether `__getitem__` returns a dict.
        self.is_dict = False
        self.sample = self._probe(made)

    def __len__(self) -> int:
        """Return the number of items."""
        return self._length

    def stream(self) -> dict[str, Any]:
        """Return source and transform of a stream of its items, for a spec."""
        produces = {
            name: {"dtype": array.dtype.name, "shape": list(array.shape)} for name, array in self.sample.items()
        }
        parameters = {"dataset": self.path, "arguments": self.arguments, "fields": list(self.fields)}
        return {
            "source": {"kind": "arrays", "images": np.zeros((len(self), 1, 1), np.uint8)},
            "transform": {
                "color": "gray",
                "patch": {"height": 1, "width": 1},
                "custom": [{"name": NAME, "parameters": parameters, "produces": produces}],
            },
        }

    def write_spec(
        self,
        folder: str | os.PathLike[str],
        *,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        **settings: object,
    ) -> Path:
        """Write a spec of its items into a folder, for a stack whose workers run on several machines; return its path.

        `settings` are further ones of a stream, such as `failure_budget`. Next to the spec, `items.npy` stands for the
        items: every machine needs that file, below the root `items`, and its workers need the permission to import
        the dataset: `penstock worker --dataset=module:Class --root=items=FOLDER`. Raises SpecError.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        described = self.stream()
        np.save(place / _ITEMS, described["source"]["images"])
        source = {"kind": "arrays", "root": "items", "images": _ITEMS}
        stream = {**described, "source": source, "batch_size": batch_size, "shuffle": shuffle, **settings}
        spec = as_spec({"seed": seed, "roots": {"items": str(place.absolute())}, "streams": {"train": stream}})
        path = place / "spec.json"
        path.write_text(spec.model_dump_json(exclude_defaults=True), encoding="utf-8")
        return path

    def worker_options(self) -> dict[str, list[str]]:
        """Return the settings that let workers import it: from the folder that this program imports it from."""
        name = self.path.partition(":")[0]
        module = sys.modules[name]
        if module.__file__ is None:  # built into Python
            return {"dataset": [self.path]}
        file = Path(module.__file__).absolute()
        if hasattr(module, "__path__"):  # a package, whose file is its __init__.py
            file = file.parent
        return {"dataset": [self.path], "import_path": [str(file.parents[name.count(".")])]}

    def _probe(self, made: Any) -> dict[str, Array]:
        """Return the fields of the first item that can be had: all others must have the same."""
        failed: Exception | None = None
        for index in range(min(len(self), _PROBED)):
            try:
                sample = made[index]
            except Exception as error:  # noqa: BLE001 - code of the user; a bad item is quarantined later
                failed = failed or error
                continue
            self.is_dict = isinstance(sample, Mapping)
            try:
                fields = fields_of(sample, self.fields)
            except ValueError as error:
                raise SpecError(f"dataset {self.path!r}, item {index}: {error}: give fields=(…)") from error
            if taken := [name for name in IDENTITY if name in fields]:
                raise SpecError(f"dataset {self.path!r}: field {taken[0]!r} is Penstock's own: give it another name")
            return fields
        raise SpecError(f"dataset {self.path!r}: none of its first items can be had: {failed!r}") from failed


def _import_path(made_by: Callable[..., Any]) -> str:
    """Return where a class or function is imported from. Raises SpecError if workers cannot."""
    module = str(getattr(made_by, "__module__", ""))
    name = str(getattr(made_by, "__qualname__", repr(made_by)))
    if module == "__main__" or "<" in name:
        raise SpecError(
            f"dataset {name} is defined in {'the script itself' if module == '__main__' else 'a function'}, where "
            "workers cannot import it: move it to the top level of a module of its own"
        )
    return f"{module}:{name}"
