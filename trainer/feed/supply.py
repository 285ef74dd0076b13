"""The protocol of a supply, which brings a feed its batches: a subscription or a file. Only types."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from penstock.protocol.errors import PenstockError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array
from penstock.trainer.client.session import Ended
from penstock.trainer.hdf5.plan import FilePlan

AnyPlan = TypeVar("AnyPlan", bound=StreamPlan | FilePlan)
Plan_co = TypeVar("Plan_co", bound=StreamPlan | FilePlan, covariant=True)


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch: its fields, and the position to go on at after it."""

    fields: dict[str, Array]
    stop: int


Event = Ready | Ended | PenstockError


class Supply(Protocol[Plan_co]):
    """Brings batches by a thread of its own: a subscription, or a file."""

    @property
    def plan(self) -> Plan_co | None:
        """The stream's plan; None until it is known."""
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
        """Make a wait check again whether it is wanted."""
        ...

    def consumed(self) -> None:
        """Count one more batch as consumed."""
        ...

    def seek(self, position: int, fingerprint: str) -> None:
        """Continue from another position: batches that wait here are dropped."""
        ...

    def fail(self, error: PenstockError) -> None:
        """Make every wait raise `error`."""
        ...

    def close(self, *, wait: bool = True) -> None:
        """End the thread, and `wait` until it has ended."""
        ...
