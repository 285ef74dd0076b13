"""Feeds an image iterator with pixels that worker processes on this machine compute.

Builds the spec of the iterator's stack, and starts and stops that stack. Arrays go to the workers as
`penstock.launcher.in_memory_sources` sends them: without a name on disk, so that a program that is killed leaves none
behind. Labels and normalisation are added by other modules.
"""

import json
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.image_data_generator.feeders import ROOT, STREAM, Order, Source, stream_of, unreadable
from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import FailureBudgetError, PenstockError
from penstock.protocol.order import Int64s
from penstock.protocol.spec.axes import CHANNELS
from penstock.protocol.wire import Array
from penstock.trainer.client.feed import Feed

Images = npt.NDArray[Any]
#: Batches are taken from workers in pieces of up to this size (bytes), where they are smaller: a message costs about as
#: much as copying this.
_CHUNK_BYTES = 1_000_000
#: Batches that Keras reads for their shapes before it begins.
_LOOKED_AT = 2


class Workers:
    """Worker processes of this machine, started with the first batch.

    Batches of small images come several in one piece, a *chunk*: what a message costs is then shared between them.
    """

    def __init__(self, source: Source, order: Order, workers: int) -> None:
        """Start nothing yet."""
        self._source, self._order, self._workers = source, order, workers
        #: Batches in a chunk, and the order as one of chunks.
        self._size = _batches_in_a_chunk(source, order)
        self._chunks = replace(order, batch_size=order.batch_size * self._size)
        self._feed: Feed | None = None
        #: The stack's quarantine ledger.
        self._ledger = Path()
        self._stop: Callable[[], object] = lambda: None
        self._coming: Iterator[dict[str, Array]] = iter(())
        #: The chunk that the feed gives next: (epoch, index).
        self._next: tuple[int, int] | None = None
        #: The last chunk, and the first ones of its epoch: Keras looks at two batches before it begins with them.
        self._kept: dict[tuple[int, int], Images] = {}

    def batch(self, epoch: int, index: int) -> tuple[Images, Int64s]:
        """Take the batch from the workers; out of order, they begin anew. Raises FailureBudgetError and others."""
        number, place = divmod(index, self._size)
        if (epoch, number) not in self._kept:
            first = [key for key in self._kept if key[0] == epoch and key[1] * self._size < _LOOKED_AT]
            self._kept = {key: self._kept[key] for key in first}
            self._kept[epoch, number] = self._take(epoch, number)
        items = self._order.items(epoch, index)
        start = place * self._order.batch_size
        return self._kept[epoch, number][start : start + len(items)], items

    def _take(self, epoch: int, index: int) -> Images:
        feed = self._feed or self._open()
        order = self._chunks
        if self._next != (epoch, index):
            self._next = None
            feed.seek(epoch * order.samples + index * order.batch_size)
            self._coming = iter(feed)
        try:
            fields = next(self._coming, None)
            if fields is None:  # the epoch before this one was over
                self._coming = iter(feed)
                fields = next(self._coming)
        except FailureBudgetError as error:  # the original error quotes a spec, which the user has not written
            raise _failure(self._ledger) or error from None
        items = order.items(epoch, index)
        if not np.array_equal(items, fields["item"]):
            raise PenstockError(
                f"chunk {index} of epoch {epoch} holds items {fields['item']}, not {items}: a bug of ours"
            )
        self._next = (epoch, index + 1) if index + 1 < order.batches else (epoch + 1, 0)
        return fields["image"]

    def close(self) -> None:
        """Stop the processes, and wait until they are gone."""
        self._stop()  # ends a wait for a batch in another thread, too
        self._feed, self._kept = None, {}

    def _open(self) -> Feed:
        order = self._chunks
        stream = stream_of(self._source.transform, order, self._source.source)
        spec = {"seed": order.seed, "roots": {ROOT: "/"}, "streams": {STREAM: stream}}
        stack = LocalStack(spec, workers=self._workers)
        stack.__enter__()
        self._stop = weakref.finalize(self, stack.stop)  # does nothing in a forked process
        self._feed, self._next, self._ledger = stack.feed(STREAM), None, stack.quarantine
        return self._feed


def _batches_in_a_chunk(source: Source, order: Order) -> int:
    return max(1, min(_CHUNK_BYTES // (_sample_bytes(source) * order.batch_size), order.batches))


def _sample_bytes(source: Source) -> int:
    resize = source.transform["resize"]
    sample_bytes: int = resize["height"] * resize["width"] * CHANNELS[source.transform["color"]]
    return sample_bytes


def _failure(ledger: Path) -> FailureBudgetError | None:
    """Return the error for the first image that could not be read; None if the stack did not list it."""
    with suppress(OSError, ValueError, KeyError):
        first = json.loads(ledger.read_text(encoding="utf-8").partition("\n")[0])
        return unreadable(first["path"], first["reason"])
    return None
