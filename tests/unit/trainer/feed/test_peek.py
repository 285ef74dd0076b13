"""Looking at the next batch, and interrupts at the worst moment: nothing is lost and nothing comes twice."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from penstock.protocol.errors import DeadlineError
from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.trainer.client.session import Ended, SubscriptionConfig
from penstock.trainer.feed.batch_feed import BatchFeed
from penstock.trainer.feed.cursor import Cursor
from penstock.trainer.feed.supply import Event, Ready

#: Samples in an epoch and in a batch.
EPOCH, SIZE = 6, 2
PLAN = SimpleNamespace(
    name="train",
    fingerprint="2:x",
    classes=("<cat>", "dog"),
    schema=(
        FieldSchema(name="image", dtype="uint8", shape=(4, 4, 3), axes="hwc", channels="rgb"),
        FieldSchema(name="label", dtype="int32", shape=()),
    ),
    epoch_of=lambda position: position // EPOCH,
    epoch_span=lambda epoch: (epoch * EPOCH, (epoch + 1) * EPOCH),
    settings=SimpleNamespace(batch_size=SIZE, drop_remainder=False),
)


class Counting:
    """Brings batches of consecutive numbers, and the ends of epochs; may be interrupted when it has given one away."""

    advice = "there is nothing to check"
    plan = cast("StreamPlan", PLAN)

    def __init__(self, position: int) -> None:
        """Start at a position."""
        self._position, self._end_told = position, True
        self.interrupt = False
        self.silent = False

    def take(self, timeout_s: float, wanted: Callable[[], bool] = lambda: True) -> Event | None:
        """Return the next event."""
        del timeout_s
        assert wanted()
        event: Event
        if self.silent:
            return None
        if self._position % EPOCH == 0 and not self._end_told:
            self._end_told = True
            event = Ended(self._position, None)
        else:
            numbers = np.arange(self._position, self._position + SIZE)
            self._position, self._end_told = self._position + SIZE, False
            image = np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (SIZE, 4, 4, 3))
            event = Ready({"image": image, "label": (numbers % 2).astype(np.int32)}, self._position)
        if self.interrupt:
            self.interrupt = False
            raise KeyboardInterrupt
        return event

    def seek(self, position: int, fingerprint: str) -> None:
        """Go on from a position."""
        assert fingerprint == PLAN.fingerprint
        self._position, self._end_told = position, position % EPOCH == 0

    def welcomed(self, timeout_s: float) -> bool:
        """Return that the plan is known."""
        del timeout_s
        return True

    def nudge(self) -> None:
        """Do nothing: no thread waits."""

    def consumed(self) -> None:
        """Do nothing: there is enough."""

    def fail(self, error: Exception) -> None:
        """Do nothing: no thread waits."""

    def close(self, *, wait: bool = True) -> None:
        """Do nothing: there is no thread."""


def feed_of() -> tuple[BatchFeed[StreamPlan], Counting]:
    """Return a feed, and what brings its batches."""
    supply = Counting(0)
    config = SubscriptionConfig("train", 0, 1, None, "1")
    return BatchFeed(Cursor("ipc:///nowhere", config, 30.0, lambda *_: supply)), supply


def first(batch: dict[str, Any]) -> int:
    """Return the number of a batch's first sample."""
    return int(batch["image"][0, 0, 0, 0])


def test_what_was_looked_at_comes_next() -> None:
    """However often, before an epoch and within it; the position stays."""
    feed, _ = feed_of()
    assert [0, 0] == [first(feed.peek()), first(feed.peek())]
    assert 0 == feed.position
    epoch = iter(feed)
    assert [0, 2, 2] == [first(next(epoch)), first(feed.peek()), first(feed.peek())]
    assert [2, 4] == [first(batch) for batch in epoch]


def test_looking_past_the_end_ends_the_epoch_in_its_place() -> None:
    """In a loop, the last batch is followed by the next epoch's first, which the loop must not yield."""
    feed, _ = feed_of()
    seen = [(first(batch), first(feed.peek())) for batch in feed]
    assert [(0, 2), (2, 4), (4, 6)] == seen
    assert [6, 8, 10] == [first(batch) for batch in feed]
    assert 12 == first(feed.peek())
    assert [12, 14, 16] == [first(batch) for batch in feed.next_epoch()]


def test_an_epoch_that_was_left_after_its_last_batch_goes_on_with_the_next() -> None:
    """As without looking."""
    feed, _ = feed_of()
    for batch in feed:
        if first(batch) == 4:
            break
    assert 6 == first(feed.peek())
    assert [6, 8, 10] == [first(batch) for batch in feed]


def test_the_first_batch_is_told_once() -> None:
    """When it is handed out, and not before; later epochs tell nothing."""
    feed, _ = feed_of()
    told: list[int] = []
    feed.call_at_first_batch(lambda: told.append(feed.position))
    feed.peek()
    assert [] == told
    for _ in range(2):
        list(feed)
        assert [SIZE] == told


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
@pytest.mark.parametrize("looked", [False, True])
def test_an_interrupt_loses_no_batch(taken: int, looked: bool) -> None:  # noqa: FBT001 - a case
    """Ctrl-C at the worst moment: the link has given the batch, or the end of the epoch, away."""
    feed, supply = feed_of()
    got = []
    epoch = iter(feed)
    got += [first(next(epoch)) for _ in range(taken)]
    supply.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        feed.peek() if looked else next(epoch)
    if looked:
        assert 2 * taken == first(feed.peek())
    for _ in range(2):
        got += [first(batch) for batch in feed]
    assert list(range(0, len(got) * SIZE, SIZE)) == got
    assert len(got) >= 2 * EPOCH // SIZE - 1


def test_a_deadline_is_no_interrupt() -> None:
    """What comes late is taken by the next attempt."""
    feed, supply = feed_of()
    first(feed.peek())
    epoch = iter(feed)
    next(epoch)
    supply.silent = True
    with pytest.raises(DeadlineError):
        feed.peek()
    supply.silent = False
    assert [2, 4] == [first(batch) for batch in feed]


def test_notebooks_show_a_batch_and_progress_and_escape_names() -> None:
    """Class names are other people's text; a feed shows what it knows and waits for nothing."""
    feed, _ = feed_of()
    assert "not connected yet" in feed._repr_html_()
    page = feed.peek()._repr_html_()
    assert "<cat>" not in page
    assert 2 == page.count("data:image/png;base64,")
    assert "<figcaption style='max-width:10em;overflow-wrap:anywhere'>&lt;cat&gt;</figcaption>" in page
    next(iter(feed))
    assert "2 of 6" in feed._repr_html_()
    feed.close()
    assert "closed" in feed._repr_html_()
    assert ", closed>" in repr(feed)
