"""`Loader`: the common base of the loaders for PyTorch and JAX: length, epochs and state."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Generic, NoReturn, TypeVar

from penstock.protocol.errors import SpecError
from penstock.protocol.plan import FieldSchema
from penstock.trainer.adapters.ahead import Ahead
from penstock.trainer.adapters.batches import ResumableSource
from penstock.trainer.adapters.fields import choose_fields

Item = TypeVar("Item")


class Loader(ABC, Generic[Item]):
    """A feed's batches as a framework takes them, one epoch an iteration.

    After a `break`, iterating again goes on with the batch after the last one yielded. `state_dict()` is the state
    after the batch that was yielded last, however many are on their way to a device: the next batch after
    `load_state_dict` is the very next one. It must be used in the process that made it, in one place at a time.
    """

    def __init__(self, feed: ResumableSource, fields: tuple[str, ...] | None, prefetch_to_device: int) -> None:
        """Take the feed and the names of its fields; nothing is fetched before the first iteration."""
        if prefetch_to_device < 1:
            raise SpecError(f"prefetch_to_device = {prefetch_to_device}: give 1 or more")
        self.feed = feed
        self._wanted = fields
        #: Copies batches to a device ahead; None if they stay as they are received.
        self._ahead: Ahead[Any] | None = None

    def __repr__(self) -> str:
        """Name the kind of loader and its feed."""
        return f"<{type(self).__name__} of {self.feed!r}>"

    @abstractmethod
    def __iter__(self) -> Iterator[Item]:
        """Yield the batches up to the end of the epoch."""

    @cached_property
    def fields(self) -> list[FieldSchema]:
        """The fields that batches hold, in order. Raises SpecError for unknown names."""
        return choose_fields(self.feed, self._wanted)

    def __len__(self) -> int:
        """Return the batches of a whole epoch for this rank, if nothing is quarantined."""
        return self.feed.batches_per_epoch

    def __getitem__(self, index: object) -> NoReturn:
        """Raise SpecError: a loader is no dataset."""
        raise SpecError(
            f"{self!r} takes the place of a DataLoader and has no item {index!r}: iterate it, do not wrap it in another"
        )

    def __reduce__(self) -> NoReturn:
        """Raise SpecError: a loader holds a connection."""
        raise SpecError(
            f"{self!r} cannot be pickled: it holds a connection. Make one in each process that trains, and give "
            "workers to the stack, not to a DataLoader around this"
        )

    def set_epoch(self, epoch: int) -> None:
        """Go on with the first batch of an epoch (from 0), unless the next batch is in that epoch already.

        So a training loop may call this before every epoch, the one that it resumes in the middle of included.
        """
        self._stop()
        self.feed.begin_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the batch that was yielded last; it fits any number of workers and ranks."""
        return self._ahead.state_dict() if self._ahead else self.feed.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the batch that was yielded last before `state_dict`. Raises SpecError if it is not a state."""
        self._stop()
        self.feed.load_state_dict(state)

    def _stop(self) -> None:
        """End the current iteration: batches fetched ahead are fetched again later."""
        if self._ahead:
            self._ahead.stop()

    def _packed(self, values: dict[str, Any]) -> dict[str, Any] | tuple[Any, ...]:
        """Return a batch as it was asked for: a dict by field, or a tuple of the named ones."""
        return values if self._wanted is None else tuple(values.values())
