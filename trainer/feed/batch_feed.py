"""`BatchFeed`: iterates over batches from any supply, such as a sink or a file.

Defines the meaning of *consumed* (a batch counts once the program asks for the next one), of an epoch's iteration and
of a feed's state. Sockets and files are handled by the supplies.
"""

import threading
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Generic, Protocol, Self

from penstock.protocol.errors import PenstockError, SpecError
from penstock.protocol.messages import EpochEnd
from penstock.protocol.plan import FieldSchema
from penstock.protocol.wire import Array
from penstock.trainer.feed.cursor import Cursor
from penstock.trainer.feed.framework_loaders import FrameworkLoaders
from penstock.trainer.feed.notebook import Batch, feed_html
from penstock.trainer.feed.stats import FeedStats
from penstock.trainer.feed.supply import AnyPlan


class BatchFeed(FrameworkLoaders, Generic[AnyPlan]):
    """A stream's batches, in order, each exactly once.

    `for batch in feed` yields dicts of numpy arrays, by field, and ends with the epoch; iterate again for the next one.
    A feed must be used in the process that made it, in one place at a time.
    """

    def __init__(self, cursor: Cursor[AnyPlan], stats: FeedStats | None = None) -> None:
        """Take what the batches come from; nothing is asked of it before the first use."""
        self.address, self.timeout_s = cursor.address, cursor.timeout_s
        self.stats = stats or FeedStats()
        #: An object to keep alive with this feed, such as the stack that feeds it.
        self.owner: object = None
        self._at_first_batch: Callable[[], object] = lambda: None
        self._cursor = cursor
        close_when_forgotten(self, cursor)

    def __repr__(self) -> str:
        """Show stream, address and position."""
        return repr(self._cursor)

    def _repr_html_(self) -> str:
        """Show the epoch's progress in a notebook; it waits for nothing."""
        cursor = self._cursor
        plan = cursor.known_plan
        number = plan.epoch_of(cursor.position) if plan else 0
        epoch = (number, *plan.epoch_span(number)) if plan else None
        return feed_html(
            f"Feed {self.stream}", cursor.state.removeprefix(", "), cursor.position, epoch, plan.classes if plan else ()
        )

    def __enter__(self) -> Self:
        """Return the feed itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    @property
    def plan(self) -> AnyPlan:
        """What is known of the stream; the first use may have to wait for it."""
        return self._cursor.plan

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.plan.classes

    @property
    def schema(self) -> tuple[FieldSchema, ...]:
        """The fields of a sample: name, dtype and shape, and of an image what its axes and channels are."""
        return self.plan.schema

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self._cursor.config.stream

    @property
    def rank(self) -> int:
        """Which of the trainers that share the stream this is."""
        return self._cursor.config.rank

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch for this rank, if nothing is quarantined."""
        return self.plan.batches_per_epoch(self._cursor.config.world_size)

    @property
    def samples_per_epoch(self) -> int:
        """Samples of a whole epoch, over all ranks, if nothing is quarantined."""
        start, stop = self.plan.epoch_span(0)
        return stop - start

    @property
    def batch_size(self) -> int:
        """Samples in a batch; an epoch's last batch may hold fewer, unless `drop_remainder` is set."""
        return self.plan.settings.batch_size

    @property
    def drop_remainder(self) -> bool:
        """Whether every batch holds exactly `batch_size` samples."""
        return self.plan.settings.drop_remainder

    @property
    def position(self) -> int:
        """Position after the batch that was yielded last."""
        return self._cursor.position

    @property
    def epoch(self) -> int:
        """The epoch that `position` is in."""
        return self.plan.epoch_of(self.position)

    @property
    def epochs(self) -> list[EpochEnd]:
        """Accounts of the last 100 epochs that ended: expected = delivered + quarantined + dropped."""
        return list(self._cursor.epochs)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Yield the batches up to the end of the epoch; after a break, iterating again goes on with the next batch."""
        yield from self._rest(self._cursor.claim(), timed=True)

    def peek(self) -> Batch:
        """Return the next batch without taking it: iterating yields it again. In a notebook it is a contact sheet.

        At the end of an epoch it is the next epoch's first. Raises SpecError if a whole epoch gives no batch.
        """
        if (ready := self._cursor.peek()) is None:
            raise self._empty_epoch()
        return Batch(ready.fields, self.schema, self.classes)

    def next_epoch(self, *, timed: bool = True) -> Iterator[dict[str, Array]]:
        """Yield the batches of one epoch; one that was broken off is left behind, and the epoch after it begins.

        Without `timed`, the caller keeps the times of `stats` (tf.data asks ahead: its waiting is not the program's).
        """
        yield from self._rest(self._cursor.claim_next_epoch(), timed=timed)

    def skip_epoch(self) -> None:
        """Leave the rest of an epoch that was broken off; does nothing between epochs."""
        self._cursor.claim_next_epoch()

    def epoch_of(self, position: int) -> int:
        """Return the epoch that a position belongs to."""
        return self.plan.epoch_of(position)

    def upcoming_epoch(self) -> int:
        """Return the epoch of the next batch, waiting for it where that is open: the rest of an epoch may be empty."""
        plan, cursor = self.plan, self._cursor
        with cursor.turn:
            while not cursor.held and cursor.position != plan.epoch_span(plan.epoch_of(cursor.position))[0]:
                cursor.held = cursor.pull(cursor.iteration)
            return plan.epoch_of(cursor.held.stop - 1 if cursor.held else cursor.position)

    def state_dict(self, *, batches: int | None = None) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on after the batch that was yielded last.

        With `batches`: after that many batches of the current iteration, for programs that prefetch (tf.data): what
        was trained on, not what was fetched.
        """
        cursor = self._cursor
        stream, position = cursor.config.stream, cursor.after(batches)
        return {"version": 1, "stream": stream, "position": position, "fingerprint": cursor.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; the number of workers and of ranks may be another.

        Raises SpecError if it is not a state of this stream; the sink refuses one of another spec or source.
        """
        try:
            version, stream, position, fingerprint = (
                state[key] for key in ("version", "stream", "position", "fingerprint")
            )
        except (KeyError, TypeError):
            raise SpecError(f"not a feed's state: {state!r}; give what state_dict() returned") from None
        own = self._cursor.config.stream
        if version != 1 or stream != own or not isinstance(position, int) or position < 0:
            raise SpecError(f"state {state!r} is not one of stream {own!r} (version 1)")
        self.seek(position, str(fingerprint))

    def seek(self, position: int, fingerprint: str = "") -> None:
        """Go on from `position` (samples since the start of epoch 0), backwards too; ends the current iteration."""
        self._cursor.seek(position, fingerprint)

    def begin_epoch(self, epoch: int) -> None:
        """Go on with the first batch of an epoch, unless `position` is in that epoch already (after a resume)."""
        if epoch < 0:
            raise SpecError(f"epoch = {epoch}: give 0 or more")
        if epoch != self.epoch:
            self.seek(self.plan.epoch_span(epoch)[0], self._cursor.fingerprint)

    def track(self) -> deque[int]:
        """Return a queue that gets the position after each batch handed out from now on.

        A program that removes a position for each batch trained on knows the position it has trained up to, however
        many batches were fetched ahead. An epoch that is left midway takes its positions out: they will not be trained
        on. There is one such queue a feed.
        """
        self._cursor.tracks = tracks = deque[int]()
        return tracks

    def call_at_first_batch(self, called: Callable[[], object]) -> None:
        """Call this when the first batch is handed out, on the thread that asked for it; it must not wait."""
        self._at_first_batch = called

    def fail(self, error: PenstockError) -> None:
        """Make every wait of this feed raise `error`: its stack has failed. Callable from any thread."""
        self._cursor.fail(error)

    def close(self) -> None:
        """Unsubscribe; the feed cannot be used any more. Callable from any thread: a wait in another one ends."""
        self._cursor.close()

    def _rest(self, mine: int, *, timed: bool) -> Iterator[dict[str, Array]]:
        """Yield the rest of the epoch; if nothing is left, the next epoch."""
        cursor, stats, some = self._cursor, self.stats, False
        for ended in range(2):
            if cursor.finished:
                cursor.stops, cursor.finished = array("q"), False
            if timed:
                stats.ask()
            while ready := cursor.next(mine):
                if timed:
                    stats.receive()
                if not stats.batches:
                    self._at_first_batch()
                stats.batches += 1
                stats.samples += len(next(iter(ready.fields.values())))
                some = True
                yield ready.fields
                if timed:
                    stats.ask()
            if timed:
                stats.receive()
            if some or cursor.iteration != mine:
                return
            if ended:
                raise self._empty_epoch()

    def _empty_epoch(self) -> SpecError:
        settings = self.plan.settings
        start, stop = self.plan.epoch_span(self.epoch)
        return SpecError(
            f"stream {self.plan.name!r}: a whole epoch gives no batch: {stop - start} samples (less the quarantined) "
            f"with batch_size = {settings.batch_size}, drop_remainder = {str(settings.drop_remainder).lower()} and "
            f"{self._cursor.config.world_size} trainer(s); make batch_size smaller"
        )


class _Closeable(Protocol):
    """A resource that a feed keeps open."""

    def close(self, *, wait: bool = True) -> None:
        """Close it, and `wait` for its thread."""
        ...


def close_when_forgotten(feed: BatchFeed[Any], held: _Closeable) -> None:
    """Close what a feed holds once the feed is garbage, or the interpreter exits."""
    weakref.finalize(feed, _let_go, held)


def _let_go(held: _Closeable) -> None:
    """Close it. The collector may call this on any thread, a feed's own included: only the main thread waits."""
    held.close(wait=threading.current_thread() is threading.main_thread())
