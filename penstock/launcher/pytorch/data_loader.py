"""`penstock.torch.DataLoader`: a stack of its own in the place of PyTorch's `DataLoader`.

`inputs.py` says what it may be over, `arguments.py` which further arguments of PyTorch's it knows. The process that
starts services is begun when this module is imported: it has imported what they need once the program has what it
needs, and is ready when the first loader is made. Without one, it leaves after a minute.
"""

from types import TracebackType
from typing import Any, Self

from penstock.launcher.spare import prepare, prepared

with prepared(called=False):
    from penstock.launcher.pytorch.arguments import feed_options
    from penstock.launcher.pytorch.inputs import as_input
    from penstock.launcher.stack import LocalStack
    from penstock.trainer.adapters.torch_loader import TorchLoader


class _Unset:
    """The value of an argument that was not given: PyTorch's default, or what the spec says."""

    def __repr__(self) -> str:
        """Show it in signatures."""
        return "unset"


_UNSET: Any = _Unset()


class DataLoader(TorchLoader):
    """Batches that workers of this machine make, in the place of PyTorch's `DataLoader`.

    Each item comes once an epoch, in an order that `seed` determines; an item that raises or cannot be read is
    quarantined, and the epoch goes on without it. The state resumes at the very next batch, at any number of workers.
    Draws of `random`, NumPy's and PyTorch's global generators in an imported dataset are seeded for each item by its
    epoch and index.
    """

    def __init__(  # noqa: PLR0913 - by keyword, as in PyTorch
        self,
        dataset: object,
        batch_size: int = _UNSET,
        shuffle: bool = _UNSET,  # noqa: FBT001 - the third argument of PyTorch's, too
        *,
        num_workers: int | None = None,
        drop_last: bool = _UNSET,
        transform: object = None,
        stream: str = "train",
        seed: int = 0,
        failure_budget: float = _UNSET,
        fields: tuple[str, ...] | None = None,
        device: Any = None,
        prefetch_to_device: int = 2,
        **arguments: Any,
    ) -> None:
        """Start a stack with `num_workers` workers; None: as many as there are cores, 0: one, as there is no other way.

        `dataset` is a folder with one subfolder per class, with a `transform` (torchvision's, a recipe's name, or a
        spec's as a mapping); a torchvision ImageFolder, or a Subset of one; an ImportedDataset; or a spec, of which
        `stream` is served, with its own settings where arguments give no others.

        Raises SpecError for anything else, for a part of a transform that no step can replace and for arguments of
        PyTorch's `DataLoader` that have no counterpart here; and StackError if the stack cannot start.
        """
        prepare()  # another, if the first has left or the environment has changed since
        options = feed_options(arguments, num_workers)
        settings = {
            "batch_size": batch_size,
            "shuffle": shuffle,
            "drop_remainder": drop_last,
            "failure_budget": failure_budget,
        }
        given = {name: value for name, value in settings.items() if value is not _UNSET}
        self._over = over = as_input(dataset, transform=transform, stream=stream, seed=seed, given=given, fields=fields)
        #: The stack that makes the batches: see `penstock.LocalStack`.
        self.stack = LocalStack(
            over.spec,
            workers=None if num_workers is None else max(1, num_workers),
            options={"worker": over.worker_options},
        )
        self.stack.__enter__()
        super().__init__(
            self.stack.feed(over.stream, **options),
            device=device,
            fields=over.fields,
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
        """Return a batch as PyTorch's `DataLoader` would over the same dataset."""
        if self._over.finish is not None and "image" in values:
            values["image"] = self._over.finish(self._torch, values["image"])
        if self._over.long_labels and "label" in values:
            values["label"] = values["label"].long()
        return values if self._over.as_dict else tuple(values.values())
