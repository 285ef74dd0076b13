"""The trainer's core: no gap, no repetition, whatever the connection does; epochs that end once."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.cores.session_harness import INTERVALS, PLAN, CoreHarness, end, plain

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.instructions import Reopen
from penstock.protocol.messages import (
    Credit,
    Goodbye,
    Heartbeat,
    Hello,
    Refused,
    Reset,
    StoryRequest,
    Subscribe,
    TaskKey,
    TrainerWelcome,
)
from penstock.trainer.client.session import (
    SINK,
    Ended,
    Rejected,
)


@pytest.fixture
def harness() -> Iterator[CoreHarness]:
    """Return a session that was welcomed at position 0."""
    harness = CoreHarness()
    yield harness
    harness.session.validate()


def again(out: list[Any], position: int, limit: int) -> Subscribe:
    """Check that the session opened its link again and subscribed from `position`; return the subscription."""
    assert [Reopen(SINK)] == out[:1]
    [subscribe] = [each for each in out if isinstance(each, Subscribe)]
    assert (position, limit) == (subscribe.position, subscribe.limit)
    return subscribe


def test_it_asks_for_what_was_wished_for_from_the_position() -> None:
    """Stream, rank, world size, position, fingerprint and first credit stand in the subscription."""
    subscribe = CoreHarness(position=5, ahead=3, fingerprint="f").subscribe
    assert (
        Subscribe(stream="train", rank=1, world_size=2, position=5, fingerprint="f", limit=3, version="1.0")
        == subscribe
    )


def test_batches_are_delivered_in_order_and_credit_follows_consumption(harness: CoreHarness) -> None:
    """Each batch comes once; what was consumed is granted anew."""
    assert [(0, 0, 4)] == harness.batch(0, 0, 4)
    assert [(1, 4, 8)] == harness.batch(1, 4, 8)
    assert [Credit(consumed=1, limit=4)] == plain(harness.session.consume(1, 0.0))
    assert [Credit(consumed=2, limit=5)] == plain(harness.session.consume(1, 0.0))


def test_a_repeated_batch_is_ignored(harness: CoreHarness) -> None:
    """The same sequence number again is the same batch."""
    harness.batch(0, 0, 4)
    assert [] == harness.batch(0, 0, 4)
    assert 4 == harness.session.position


@pytest.mark.parametrize(("sequence", "start"), [(2, 4), (1, 5), (1, 3), (2, 8)])
def test_anything_but_the_next_batch_starts_over_from_the_position_reached(
    harness: CoreHarness, sequence: int, start: int
) -> None:
    """A gap in the numbers or in the positions is never delivered."""
    harness.batch(0, 0, 4)
    again(harness.batch(sequence, start, start + 4), 4, 2)


def test_batches_that_wait_stay_counted_against_the_next_subscription(harness: CoreHarness) -> None:
    """Never more than `ahead` batches wait, however often the connection breaks."""
    harness.batch(0, 0, 4)
    harness.batch(1, 4, 8)
    subscribe = again(harness.hear(Reset()), 8, 1)
    assert "f" == subscribe.fingerprint
    assert [(0, 8, 12)] == harness.batch(0, 8, 12)
    granted = [plain(harness.session.consume(1, 0.0)) for _ in range(3)]
    assert [[Credit(consumed=0, limit=2)], [Credit(consumed=0, limit=3)], [Credit(consumed=1, limit=4)]] == granted


def test_a_line_that_takes_long_for_one_message_is_given_more_time_each_time(harness: CoreHarness) -> None:
    """Else the trainer would hang up in the middle of every batch, for ever; one that arrives ends the patience."""
    now = 0.0
    for patience in (1, 2, 4, 8, 16, 32, 32):
        assert Reopen(SINK) not in plain(harness.session.tick(now + patience * 5.0 - 0.1))
        now += patience * 5.0
        assert Reopen(SINK) in plain(harness.session.tick(now))
        harness.hear(TrainerWelcome(plan=PLAN, position=0, intervals=INTERVALS), now)
    assert [(0, 0, 4)] == harness.batch(0, 0, 4, now)
    harness.hear(Reset(), now)
    assert Reopen(SINK) in plain(harness.session.tick(now + 5.0))


def test_a_silent_sink_is_called_again_under_a_fresh_identity(harness: CoreHarness) -> None:
    """After silence_s and not before; anything heard counts."""
    harness.hear(Heartbeat(position=0), 3.0)
    assert [Credit(consumed=0, limit=3)] == plain(harness.session.tick(7.9))
    again(plain(harness.session.tick(8.0)), 0, 3)


def test_credit_is_repeated_as_the_heartbeat(harness: CoreHarness) -> None:
    """A lost grant is repaired by the next heartbeat; the timer asks for it in time."""
    assert 1.0 == harness.session.next_timer(0.0)
    assert [] == plain(harness.session.tick(0.9))
    assert [Credit(consumed=0, limit=3)] == plain(harness.session.tick(1.0))
    assert [] == plain(harness.session.tick(1.5))


def test_a_lost_last_batch_is_noticed_by_two_heartbeats(harness: CoreHarness) -> None:
    """Nothing comes behind it that could reveal the gap: the sink's position does. One may overtake a batch."""
    harness.batch(0, 0, 4)
    assert [] == harness.hear(Heartbeat(position=8))
    again(harness.hear(Heartbeat(position=8)), 4, 2)


def test_a_batch_between_two_heartbeats_is_progress(harness: CoreHarness) -> None:
    """What arrives is not lost, however far behind it is."""
    assert [] == harness.hear(Heartbeat(position=4))
    harness.batch(0, 0, 4)
    assert [] == harness.hear(Heartbeat(position=8))
    harness.batch(1, 4, 8)
    assert [] == harness.hear(Heartbeat(position=8))
    assert [] == harness.hear(Heartbeat(position=8))


def test_a_lost_welcome_is_noticed_by_two_heartbeats() -> None:
    """Batches ahead of the welcome cannot be used; a sink that still waits for its plan says nothing of positions."""
    harness = CoreHarness(welcomed=False)
    assert [] == harness.batch(0, 0, 4)
    for _ in range(3):
        assert [] == harness.hear(Heartbeat())
    assert [] == harness.hear(Heartbeat(position=4))
    again(harness.hear(Heartbeat(position=4)), 0, 3)


def test_an_epoch_ends_once_with_its_report(harness: CoreHarness) -> None:
    """The report comes after the last batch; repeated, it says nothing new."""
    harness.batch(0, 0, 4)
    harness.batch(1, 4, 8)
    assert [Ended(8, end(2, 8))] == harness.end(2, 8)
    assert [] == harness.end(2, 8)
    assert [(2, 8, 12)] == harness.batch(2, 8, 12)


def test_an_epoch_whose_report_was_lost_ends_all_the_same(harness: CoreHarness) -> None:
    """The next epoch's first batch never comes before the end of the last."""
    harness.batch(0, 0, 4)
    harness.batch(1, 4, 8)
    assert [Ended(8, None), (2, 8, 12)] == harness.batch(2, 8, 12)
    assert [] == harness.end(2, 8)


def test_an_epoch_whose_report_was_lost_with_the_connection_ends_before_the_next_subscription(
    harness: CoreHarness,
) -> None:
    """The new subscription starts in the next epoch and will never report the old one."""
    harness.batch(0, 0, 4)
    harness.batch(1, 4, 8)
    assert [Reopen(SINK), Ended(8, None)] == harness.hear(Reset())[:2]


def test_an_epoch_that_ends_before_its_batches_came_starts_over(harness: CoreHarness) -> None:
    """The report names the number of batches before it: one is missing."""
    harness.batch(0, 0, 4)
    again(harness.end(2, 8), 4, 2)


def test_a_dropped_tail_moves_the_position_to_the_next_epoch(harness: CoreHarness) -> None:
    """Where drop_remainder or failures end an epoch, its end is where to go on."""
    harness.batch(0, 0, 4)
    assert [Ended(8, end(1, 8))] == harness.end(1, 8)
    assert 8 == harness.session.position
    assert [(1, 8, 12)] == harness.batch(1, 8, 12)


@pytest.mark.parametrize(("batches", "position"), [(0, 0), (1, 4), (2, 8)])
def test_an_epoch_whose_end_was_lost_is_not_skipped_by_the_end_of_an_empty_one(
    harness: CoreHarness, batches: int, position: int
) -> None:
    """Everything after the lost end was quarantined, so no batch reveals it: the stop of the next end does.

    The session goes on from the position reached; the sink says again how the epoch ended, unless it is over there.
    """
    for number in range(batches):
        harness.batch(number, 4 * number, 4 * number + 4)
    out = harness.end(batches, 16)
    assert ([Ended(8, None)] if position == 8 else []) == [each for each in out if isinstance(each, Ended)]
    again(out, position, 3 - batches)
    harness.hear(TrainerWelcome(plan=PLAN, position=position, intervals=INTERVALS))
    first = [] if position == 8 else [Ended(8, end(0, 8))]
    assert first == ([] if position == 8 else harness.end(0, 8))
    assert [Ended(16, end(0, 16))] == harness.end(0, 16)
    assert [(0, 16, 20)] == harness.batch(0, 16, 20)


def test_empty_epochs_end_one_after_the_other(harness: CoreHarness) -> None:
    """Each once, without a batch between them."""
    assert [Ended(8, end(0, 8))] == harness.end(0, 8)
    assert [Ended(16, end(0, 16))] == harness.end(0, 16)
    assert [] == harness.end(0, 8)
    assert 16 == harness.session.position


def test_an_epoch_that_ended_before_is_not_ended_again() -> None:
    """A run resumed at an epoch's start does not end the epoch before."""
    harness = CoreHarness(position=8)
    assert [(0, 8, 12)] == harness.batch(0, 8, 12)


def test_a_refusal_is_final(harness: CoreHarness) -> None:
    """It is handed on in words; nothing that still arrives is delivered, and nothing more is sent."""
    refused = Refused(kind="budget", reason="too many failures")
    assert [Rejected(refused)] == harness.hear(refused)
    assert [] == harness.batch(0, 0, 4)
    assert [] == plain(harness.session.tick(100.0))
    assert 100.0 < harness.session.next_timer(100.0)


def test_leaving_says_goodbye(harness: CoreHarness) -> None:
    """The sink gives the memory back at once."""
    assert [Goodbye()] == plain(harness.session.leave())


def test_a_message_that_no_sink_sends_is_rejected(harness: CoreHarness) -> None:
    """It breaks the protocol."""
    with pytest.raises(RemoteProtocolError, match="unexpected"):
        harness.hear(Hello(worker="w", incarnation="i", host="h", slots=1, version="1.0"))


def test_it_tells_where_it_stands_and_a_tasks_story(harness: CoreHarness) -> None:
    """The record is frozen, and an event names the batch, the rank and why the session subscribed again."""
    before = harness.session.observe(0.0)
    harness.batch(0, 0, 4, now=1.0)
    harness.session.consume(1, 1.5)
    harness.hear(Reset(), now=2.0)
    after = harness.session.observe(2.0)
    assert [(0, 0, 0), (4, 1, 1)] == [(seen.position, seen.delivered, seen.consumed) for seen in (before, after)]
    assert PLAN == after.plan
    told = []
    for ordinal in range(PLAN.geometry.tasks_per_epoch):
        request = StoryRequest(number=ordinal, key=TaskKey(stream="train", ordinal=ordinal))
        [story] = harness.hear(request, now=3.0)
        [part] = story.parts
        assert (ordinal, "trainer train, rank 1") == (story.number, part.service)
        told += [(event.ago_s, event.what) for event in part.events]
    assert (2.0, "delivered to rank 1 in the batches of positions 0 to 4") in told
    assert (1.0, "awaited at rank 1; subscribed again: the sink does not know us") in told
