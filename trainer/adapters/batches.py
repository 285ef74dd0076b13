"""The protocols of batches: everything that an adapter may ask of a feed.

They are the extension point for training frameworks. An adapter is a module of free functions that take a
`BatchSource` or, to save and resume, a `ResumableSource`; `Feed` and `Hdf5Feed` fulfil both. An adapter imports no
feed, so that feeds may offer adapters as methods, and keeps no position: the feed defines what counts as *consumed*.
CONTRIBUTING.md, "Add an adapter", lists what else belongs to one.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from penstock.protocol.plan import FieldSchema
from penstock.protocol.wire import Array


class WaitClock(Protocol):
    """The clock that tells how long the training loop waited for batches and computed, and how long copies took."""

    def ask(self) -> None:
        """Note that the loop asks for a batch and waits from now on. Asking twice is the same as asking once."""
        ...

    def receive(self) -> None:
        """Note that the loop has its batch, or knows that the epoch is over, and computes from now on."""
        ...

    def copied(self, seconds: float) -> None:
        """Note how long the copy of a batch to the device took, while the loop computed or waited.

        Called on one thread, which need not be the loop's.
        """
        ...


class BatchSource(Protocol):
    """A stream's batches, one epoch an iteration."""

    @property
    def stream(self) -> str:
        """The stream's name, for messages."""
        ...

    @property
    def schema(self) -> tuple[FieldSchema, ...]:
        """The fields of a sample: name, dtype and shape. The first call may wait for the sink's answer."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples in a batch; an epoch's last batch may hold fewer, unless `drop_remainder` is set."""
        ...

    @property
    def drop_remainder(self) -> bool:
        """Whether every batch holds exactly `batch_size` samples."""
        ...

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch. An epoch with quarantined items, or one resumed midway, may have fewer."""
        ...

    @property
    def samples_per_epoch(self) -> int:
        """Samples of a whole epoch, over all ranks, if nothing is quarantined."""
        ...

    @property
    def stats(self) -> WaitClock:
        """The clock to tell when the loop waits, for an adapter that takes its batches with `timed=False`."""
        ...

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Yield the batches up to the end of the epoch; a broken-off epoch goes on with its next batch."""
        ...

    def next_epoch(self, *, timed: bool = True) -> Iterator[dict[str, Array]]:
        """Yield the batches of one epoch; a broken-off epoch is left, and the next one begins.

        Give `timed=False` if the framework fetches ahead on a thread of its own, and tell `stats` when the loop waits.
        The arrays belong to the caller. A batch counts as consumed when the next one is asked for.
        """
        ...


class ResumableSource(BatchSource, Protocol):
    """A source of batches whose position can be saved and restored."""

    def state_dict(self, *, batches: int | None = None) -> dict[str, Any]:
        """Return the state after the last batch handed out, or after `batches` batches of the current epoch."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state. Raises SpecError if it belongs to another stream."""
        ...

    def track(self) -> deque[int]:
        """Return a queue that receives the position after each batch handed out from now on.

        Remove one entry for every batch trained on: the last one removed is the position to save, however many batches
        the framework has fetched ahead.
        """
        ...

    def epoch_of(self, position: int) -> int:
        """Return the epoch that a position belongs to."""
        ...

    def upcoming_epoch(self) -> int:
        """Return the epoch of the next batch."""
        ...

    def begin_epoch(self, epoch: int) -> None:
        """Continue with the first batch of an epoch, unless the next batch is in that epoch already."""
        ...
