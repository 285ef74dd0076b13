"""`Feed`: what a training program holds. Iterates batches, knows its position, resumes from any.

Owns the meaning of *consumed*: a batch counts once the program asks for the next one. Everything heavy (TensorFlow,
Keras) is imported only by the methods that need it.
"""

import os
import time
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from penstock._version import __version__
from penstock.protocol.errors import DeadlineError, PenstockError, RefusedError, SpecError
from penstock.protocol.messages import EpochEnd
from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.wire import Array
from penstock.trainer.link import Link, Ready
from penstock.trainer.session import Wish

if TYPE_CHECKING:
    import tensorflow as tf

#: Most batches that may be asked for ahead.
_MAX_PREFETCH = 256


@dataclass(slots=True)
class FeedStats:
    """Counts since the feed was made; times in seconds."""

    batches: int = 0
    samples: int = 0
    #: Time that the program waited for batches.
    wait_s: float = 0.0
    #: Time that the program spent with batches in hand.
    busy_s: float = 0.0

    @property
    def wait_fraction(self) -> float:
        """Waiting as a fraction of all time; 0 to 1."""
        return self.wait_s / max(self.wait_s + self.busy_s, 1e-9)


class Feed:
    """A stream's batches, in order, each exactly once; made by `penstock.connect`.

    `for batch in feed` yields dicts of numpy arrays, by field: `image` uint8 (n, height, width, channels), `label` int32
    (n,), `item` int64 (n,), `patch` int32 (n,); it ends with the epoch. Iterate again for the next one.

    Every wait ends after `timeout_s` with DeadlineError. RefusedError, FailureBudgetError and SpecError say in words
    what the sink or the spec objects to. A feed must be used in the process that made it.
    """

    def __init__(
        self,
        address: str,
        stream: str = "train",
        *,
        rank: int = 0,
        world_size: int = 1,
        prefetch: int = 4,
        timeout_s: float = 120.0,
    ) -> None:
        """Remember what to subscribe to; the connection is made on first use.

        `address` is the sink's (tcp://host:5557 or ipc:///path). `prefetch` is in batches.
        """
        if not 0 <= rank < world_size:
            raise SpecError(f"rank = {rank} with world_size = {world_size}: ranks go from 0 to world_size - 1")
        if not 1 <= prefetch <= _MAX_PREFETCH:
            raise SpecError(f"prefetch = {prefetch}: give 1 to {_MAX_PREFETCH} batches")
        self.address, self.timeout_s = address, timeout_s
        self.stats = FeedStats()
        #: Accounts of the epochs that ended.
        self.epochs: list[EpochEnd] = []
        self._wish = Wish(stream, rank, world_size, prefetch + 1, __version__)
        self._position, self._fingerprint = 0, ""
        self._link: Link | None = None
        self._plan: StreamPlan | None = None
        self._pid = os.getpid()
        self._error: PenstockError | None = None
        self._returned_at: float | None = None
        #: Counts iterations, so that an older one notices that it was abandoned.
        self._iteration = 0
        #: Of the current iteration: where each batch stopped, and whether its epoch's end was reached.
        self._stops = array("q")
        self._finished = True
        self._in_hand = False

    def __repr__(self) -> str:
        """Show stream, address and position."""
        share = f" rank {self._wish.rank}/{self._wish.world_size}" if self._wish.world_size > 1 else ""
        return f"<Feed {self._wish.stream!r}{share} from {self.address} at position {self._position}>"

    def __enter__(self) -> Self:
        """Return the feed itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

    @property
    def plan(self) -> StreamPlan:
        """The stream's plan, from the sink; the first use waits for it."""
        if self._plan is None:
            link = self._connect()
            if not link.welcomed(self.timeout_s):
                raise self._too_late("answer")
            if link.session.plan is None:
                self._raise(link.take(0))
            self._plan = link.session.plan
        assert self._plan is not None  # noqa: S101 - just waited for
        return self._plan

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.plan.classes

    @property
    def schema(self) -> tuple[FieldSchema, ...]:
        """The fields of a sample."""
        return self.plan.schema

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch for this rank, if nothing is quarantined."""
        samples, settings = self.plan.geometry.samples_per_epoch, self.plan.settings
        full, rest = divmod(samples, settings.batch_size * self._wish.world_size)
        return full + (rest >= self._wish.world_size and not settings.drop_remainder)

    @property
    def position(self) -> int:
        """Position after the batch that was yielded last."""
        return self._position

    @property
    def epoch(self) -> int:
        """The epoch that `position` is in."""
        return self._position // self.plan.geometry.samples_per_epoch

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Yield the batches up to the end of the epoch; breaking off and iterating again goes on with the next batch."""
        if self._finished:
            self._stops = array("q")
            self._finished = False
        self._iteration += 1
        mine = self._iteration
        while True:
            ready = self._next()
            if self._iteration != mine:
                return
            if ready is None:
                if self._stops:
                    self._finished = True
                    return
                continue  # the position stood at the very end of an epoch: an iteration is never empty because of that
            yield ready.fields
            if self._iteration != mine:
                return

    def state_dict(self, *, batches: int | None = None) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on after the batch that was yielded last.

        With `batches`: after that many batches of the current iteration, for programs that prefetch (tf.data): what
        was trained on, not what was fetched.
        """
        return {"version": 1, "stream": self._wish.stream, "position": self._after(batches), "fingerprint": self._known_fingerprint()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; the number of workers and of ranks may be another.

        Raises SpecError if it is not a state of this stream; the sink refuses one of another spec or source.
        """
        try:
            version, stream, position, fingerprint = (state[key] for key in ("version", "stream", "position", "fingerprint"))
        except (KeyError, TypeError):
            raise SpecError(f"not a feed's state: {state!r}; give what state_dict() returned") from None
        if version != 1 or stream != self._wish.stream or not isinstance(position, int) or position < 0:
            raise SpecError(f"state {state!r} is not one of stream {self._wish.stream!r} (version 1)")
        self.seek(position, str(fingerprint))

    def seek(self, position: int, fingerprint: str = "") -> None:
        """Go on from `position` (samples since the start of epoch 0), backwards too."""
        self._position, self._fingerprint = position, fingerprint
        self._stops, self._finished, self._in_hand = array("q"), True, False
        self._iteration += 1
        self._error = None
        if self._link:
            self._link.seek(position, fingerprint)

    def skip_epoch(self) -> None:
        """Leave the rest of an epoch that was broken off; does nothing between epochs."""
        if not self._finished and self._stops:
            size = self.plan.geometry.samples_per_epoch
            first = self._stops[0] - 1
            self.seek((first // size + 1) * size, self._known_fingerprint())

    def dataset(self, fields: tuple[str, ...] = ("image", "label"), *, prefetch: int = 2) -> "tf.data.Dataset":
        """Return a tf.data.Dataset of whole batches, one epoch an iteration, for `model.fit`; see `trainer.tf`."""
        from penstock.trainer.tf import dataset  # noqa: PLC0415 - TensorFlow is imported only when asked for

        return dataset(self, fields, prefetch=prefetch)

    def fail(self, error: PenstockError) -> None:
        """Make every wait of this feed raise `error`: the stack behind it gave up. Callable from any thread."""
        self._error = error
        if self._link:
            self._link.fail(error)

    def close(self) -> None:
        """Unsubscribe; the feed cannot be used any more."""
        if self._link and self._pid == os.getpid():
            self._link.close()
        self._link = None
        self._error = RefusedError(f"{self!r} is closed; make a new one with penstock.connect")

    def _connect(self) -> Link:
        if self._error:
            raise self._error
        if self._pid != os.getpid():
            raise SpecError(f"{self!r} was made in process {self._pid} and used in {os.getpid()}: connect after the fork")
        if self._link is None:
            self._link = Link(self.address, self._wish, self._position, self._fingerprint)
        return self._link

    def _next(self) -> Ready | None:
        """Return the next batch, or None at the end of an epoch."""
        link = self._connect()
        now = time.perf_counter()
        if self._returned_at is not None:
            self.stats.busy_s += now - self._returned_at
        if self._in_hand:
            link.consumed()
            self._in_hand = False
        event = link.take(self.timeout_s)
        self._returned_at = time.perf_counter()
        self.stats.wait_s += self._returned_at - now
        if isinstance(event, Ready):
            self._in_hand = True
            self._position = event.stop
            self._stops.append(event.stop)
            self.stats.batches += 1
            self.stats.samples += len(next(iter(event.fields.values())))
            return event
        if event is None:
            raise self._too_late("batch")
        if isinstance(event, PenstockError):
            self._raise(event)
        else:
            self._position = event.stop
            if self._stops:
                self._stops[-1] = event.stop
            if event.report:
                self.epochs.append(event.report)
        return None

    def _after(self, batches: int | None) -> int:
        if batches is None or batches >= len(self._stops):
            return self._position
        if batches == 0:
            raise SpecError("state_dict(batches=0): nothing was trained on in this iteration; keep the state you have")
        return self._stops[batches - 1]

    def _known_fingerprint(self) -> str:
        plan = self._plan or (self._link.session.plan if self._link else None)
        return plan.fingerprint if plan else self._fingerprint

    def _raise(self, event: object) -> None:
        if isinstance(event, PenstockError):
            self._error = event
            raise event
        raise self._too_late("answer")

    def _too_late(self, what: str) -> DeadlineError:
        return DeadlineError(
            f"no {what} for stream {self._wish.stream!r} from {self.address} within {self.timeout_s} s: check that "
            "ventilator, sink and at least one worker run, and that this is the sink's address for trainers"
        )
