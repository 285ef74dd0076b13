"""What ends a feed's waits from elsewhere, at every moment. No socket: what brings batches is made up."""

import threading

import pytest

from penstock.protocol.errors import StackError
from penstock.protocol.plan import StreamPlan
from penstock.trainer.client.inbox import Inbox
from penstock.trainer.client.session import SubscriptionConfig
from penstock.trainer.feed.cursor import Cursor
from penstock.trainer.feed.supply import Supply

#: Long enough for a thread to get as far as it can (s).
_FAR_S = 0.2


class Silent(Inbox):
    """Brings nothing, ever."""

    plan: StreamPlan | None = None
    advice = "there is nothing to check"

    def welcomed(self, timeout_s: float) -> bool:
        """Return that no service answers."""
        del timeout_s
        return False

    def consumed(self) -> None:
        """Do nothing."""

    def seek(self, position: int, fingerprint: str) -> None:
        """Do nothing."""

    def close(self, *, wait: bool = True) -> None:
        """Do nothing."""


def test_a_failure_that_comes_while_the_link_is_made_is_raised() -> None:
    """The stack gives up just then: the program must not wait for its deadline."""
    failing: list[threading.Thread] = []

    def open_supply(position: int, fingerprint: str) -> Supply[StreamPlan]:
        del position, fingerprint
        failing.append(threading.Thread(target=cursor.fail, args=(StackError("the worker cannot run"),)))
        failing[0].start()
        failing[0].join(_FAR_S)
        return Silent()

    cursor: Cursor[StreamPlan] = Cursor(
        "ipc:///nowhere", SubscriptionConfig("train", 0, 1, None, "1"), 30.0, open_supply
    )
    with pytest.raises(StackError, match="the worker cannot run"):
        cursor.next(cursor.claim())
    failing[0].join()
