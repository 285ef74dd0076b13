"""`penstock.torch.DataLoader`: a stack of its own in the place of PyTorch's `DataLoader` over a map-style dataset.

Workers make the dataset themselves, from the import path of its class and its arguments; nothing is pickled. Each
item of the epoch is a row of a tiny array, which `worker/imaging/map_style.py` replaces by the dataset's item.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from pydantic import JsonValue, TypeAdapter, ValidationError

from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import SpecError
from penstock.protocol.spec.custom import IDENTITY
from penstock.protocol.wire import Array
from penstock.trainer.adapters.torch import TorchLoader
from penstock.worker.imaging.map_style import NAME, fields_of, open_dataset

#: Items that are tried for the fields of a sample: the first ones may be damaged.
_PROBED = 16
#: Arguments of PyTorch's `DataLoader` that are refused, and what to do without each.
_INSTEAD = {
    "sampler": "items come once an epoch, in the order that seed= and shuffle= determine: leave it out; ranks are "
    "found without a DistributedSampler",
    "batch_sampler": "batches follow from batch_size=, shuffle= and drop_last=: give these",
    "collate_fn": "workers stack samples of one dtype and shape: pad or crop in the dataset's __getitem__, or change "
    "the batch in the training loop",
    "worker_init_fn": "random generators are seeded for each item: open files in the dataset's __init__, which every "
    "worker calls",
    "generator": "the order and all draws follow from seed=: give that",
    "pin_memory": "memory is pinned if device= is a CUDA device: give that",
    "pin_memory_device": "memory is pinned if device= is a CUDA device: give that",
    "prefetch_factor": "workers run ahead by themselves: leave it out, or give prefetch_to_device=",
    "persistent_workers": "workers always persist from epoch to epoch: leave it out",
    "multiprocessing_context": "workers are programs of their own: leave it out",
    "timeout": "every wait has a deadline of its own: leave it out",
    "in_order": "batches always come in order: leave it out",
}
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

    def _probe(self, made: Any) -> dict[str, Array]:  # noqa: ANN401 - the user's own class
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


class DataLoader(TorchLoader):
    """Batches of a map-style dataset that workers of this machine make, in the place of PyTorch's `DataLoader`.

    Each item comes once an epoch, in an order that `seed` determines; an item that raises is quarantined, and the epoch
    goes on without it. The state resumes at the very next batch, at any number of workers. Draws of `random`, NumPy's
    and PyTorch's global generators are seeded for each item by its epoch and index.
    """

    def __init__(  # noqa: PLR0913 - by keyword, as in PyTorch
        self,
        dataset: object,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        num_workers: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
        failure_budget: float = 0.05,
        device: Any = None,  # noqa: ANN401 - a torch.device, or its name
        prefetch_to_device: int = 2,
        **unsupported: object,
    ) -> None:
        """Start a stack with `num_workers` workers; None: as many as there are cores, 0: one, as there is no other way.

        `dataset` is an ImportedDataset. Raises SpecError for one that workers cannot import and for arguments of
        PyTorch's `DataLoader` that have no counterpart here, and StackError if the stack cannot start.
        """
        if given := {name: value for name, value in unsupported.items() if name not in _INSTEAD or value is not None}:
            raise SpecError(_unsupported(given))
        if not isinstance(dataset, ImportedDataset):
            raise SpecError(_not_imported(dataset))
        settings = {
            "batch_size": batch_size,
            "shuffle": shuffle,
            "drop_remainder": drop_last,
            "failure_budget": failure_budget,
        }
        self._is_dict = dataset.is_dict
        #: The stack that makes the batches: see `penstock.LocalStack`.
        self.stack = LocalStack(
            {"seed": seed, "streams": {"train": {**dataset.stream(), **settings}}},
            workers=None if num_workers is None else max(1, num_workers),
            options={"worker": dataset.worker_options()},
        )
        self.stack.__enter__()
        super().__init__(
            self.stack.feed("train"),
            device=device,
            fields=tuple(dataset.sample),
            prefetch_to_device=prefetch_to_device,
        )

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers."""
        self.close()

    def close(self) -> None:
        """Stop the workers; they also stop once nothing refers to the loader, or the program ends."""
        self.stack.stop()

    def _packed(self, values: dict[str, Any]) -> dict[str, Any] | tuple[Any, ...]:
        """Return a batch as the dataset returns samples: a dict or a tuple."""
        return values if self._is_dict else tuple(values.values())


def _unsupported(arguments: Mapping[str, object]) -> str:
    """Return why arguments are refused, and what to do without them."""
    reasons = (
        f"{name} = {value!r}: {_INSTEAD.get(name, 'there is no such argument: see help(penstock.torch.DataLoader)')}"
        for name, value in arguments.items()
    )
    return "DataLoader: " + "; ".join(reasons)


def _not_imported(dataset: object) -> str:
    """Return why something is refused as a dataset, and how to name it so that workers can import it."""
    made_by = dataset if isinstance(dataset, type) else type(dataset)
    if made_by.__module__ == "__main__":
        instead = f"move class {made_by.__qualname__} from the script into a module of its own, and give "
    else:
        instead = "give "
    name = made_by.__qualname__ if hasattr(made_by, "__getitem__") and made_by.__module__ != "builtins" else "TheClass"
    return (
        f"dataset = {dataset!r}: workers import a dataset and are sent no objects, pickled or otherwise: {instead}"
        f"penstock.torch.ImportedDataset({name}, its='arguments')"
    )


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
