"""What brings a feed its batches: what feeds and cursors ask of a subscription and of a file alike. Only types."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from penstock.protocol.errors import PenstockError
from penstock.protocol.plan import FieldSchema
from penstock.protocol.wire import Array
from penstock.trainer.session import Ended


class Cut(Protocol):
    """How samples are cut into batches."""

    @property
    def batch_size(self) -> int:
        """Samples in a batch."""
        ...

    @property
    def drop_remainder(self) -> bool:
        """Whether an epoch's last batch is dropped if it is not full."""
        ...


class Plan(Protocol):
    """What a feed has to know of its stream."""

    @property
    def name(self) -> str:
        """What the stream is called."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        ...

    @property
    def schema(self) -> tuple[FieldSchema, ...]:
        """The fields of a sample."""
        ...

    @property
    def settings(self) -> Cut:
        """How samples are cut into batches."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of what determines the samples and their order."""
        ...

    def batches_per_epoch(self, world_size: int = 1) -> int:
        """Return how many batches each of `world_size` trainers gets of a whole epoch."""
        ...

    def epoch_of(self, position: int) -> int:
        """Return the epoch that a position is in."""
        ...

    def epoch_span(self, epoch: int) -> tuple[int, int]:
        """Return the positions [start, stop) of an epoch."""
        ...


AnyPlan = TypeVar("AnyPlan", bound=Plan)
Plan_co = TypeVar("Plan_co", bound=Plan, covariant=True)


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch: its fields, and the position to go on at after it."""

    fields: dict[str, Array]
    stop: int


Event = Ready | Ended | PenstockError


class Supply(Protocol[Plan_co]):
    """What brings batches, by a thread of its own: a subscription, or a file."""

    @property
    def plan(self) -> Plan_co | None:
        """What is known of the stream; None as long as nothing is."""
        ...

    @property
    def advice(self) -> str:
        """What to check if nothing comes."""
        ...

    def take(self, timeout_s: float, wanted: Callable[[], bool] = ...) -> Event | None:
        """Return the next event, or None if none came within `timeout_s` seconds or it is not `wanted` any more."""
        ...

    def welcomed(self, timeout_s: float) -> bool:
        """Wait until the plan is known; return whether it is. An error stays in `take`."""
        ...

    def nudge(self) -> None:
        """Make a wait look again whether it is wanted."""
        ...

    def consumed(self) -> None:
        """Say that one more batch is done with."""
        ...

    def seek(self, position: int, fingerprint: str) -> None:
        """Go on from another position: what waits here is dropped."""
        ...

    def fail(self, error: PenstockError) -> None:
        """Make every wait raise `error`."""
        ...

    def close(self) -> None:
        """End the thread."""
        ...
