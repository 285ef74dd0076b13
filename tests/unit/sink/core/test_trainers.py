"""Trainers that subscribe, wait, fall silent or are refused."""

from typing import Any

import pytest
from support.cores.assembly_harness import CoreHarness
from support.plans import (
    make_plan,
)

from penstock.protocol import ranges
from penstock.protocol.instructions import Reopen
from penstock.protocol.messages import (
    Credit,
    Goodbye,
    Heartbeat,
    Refused,
    Reset,
    TrainerWelcome,
)
from penstock.sink.core.assembly import VENTILATOR
from penstock.sink.core.refusals import MAX_POSITION, MAX_READERS, MAX_TASKS, MAX_WINDOW_TASKS


def test_two_jobs_read_one_stream_independently() -> None:
    """Each gets everything from its own position at its own pace; shared work is done once."""
    harness = CoreHarness(make_plan(items=100, task_items=4, batch_size=4, window_samples=40))
    harness.subscribe(b"a")
    harness.subscribe(b"b", position=6, limit=2)
    for ordinal in range(5):
        harness.result(ordinal)
    assert 5 == len(harness.spans(b"a"))
    assert [(6, 10), (10, 14)] == harness.spans(b"b")
    assert 5 == harness.core.results["accepted"]


def test_a_repeated_subscription_is_only_welcomed_again() -> None:
    """Identities are fresh, so it is the same one: batches are not numbered anew."""
    harness = CoreHarness(make_plan(items=100, task_items=4, batch_size=4))
    harness.subscribe()
    harness.result(0)
    [welcome] = harness.subscribe()
    assert isinstance(welcome, TrainerWelcome)
    harness.result(1)
    assert [0, 1] == [each[0].sequence for each in harness.got[b"t"] if isinstance(each, tuple)]


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"stream": "test"}, "stream", ["'test'", "there are: train"]),
        ({"fingerprint": "g"}, "fingerprint", ["fingerprint g", "the sink has f", "start from position 0"]),
        ({"rank": 2, "world_size": 2}, "position", ["rank 2 of world size 2", "start at 0"]),
        ({"position": MAX_POSITION}, "position", [str(MAX_POSITION), "must be below"]),
        (
            {"world_size": 21},
            "position",
            ["20 samples an epoch", "world size 21", "no batch would ever come", "smaller"],
        ),
    ],
)
def test_a_subscription_that_cannot_be_served_is_refused_in_words(
    asked: dict[str, Any], kind: str, words: list[str]
) -> None:
    """What was wrong, what would be right."""
    harness = CoreHarness(make_plan(items=20))
    [refused] = harness.subscribe(**asked)
    assert isinstance(refused, Refused)
    assert kind == refused.kind
    assert [] == [word for word in words if word not in refused.reason]
    assert {} == harness.core.streams.readers


def test_a_batch_larger_than_an_epoch_is_refused_with_drop_remainder_only() -> None:
    """It would never come; without drop_remainder an epoch is one short batch."""
    for drop in (True, False):
        harness = CoreHarness(make_plan(items=3, batch_size=4, drop_remainder=drop))
        [answer] = harness.subscribe()
        assert isinstance(answer, Refused if drop else TrainerWelcome)


def test_there_is_a_limit_to_trainers() -> None:
    """A sink with too many trainers refuses more, rather than serve all of them badly."""
    harness = CoreHarness()
    for number in range(MAX_READERS):
        harness.subscribe(f"t{number}".encode())
    [refused] = harness.subscribe(b"one more")
    assert "limit" == refused.kind


def test_a_trainer_whose_window_spans_too_many_tasks_is_refused_in_words() -> None:
    """The ventilator would reject every report of so many, and all other trainers would stand still."""
    harness = CoreHarness(make_plan(items=1_000_000, task_items=1, batch_size=32))
    harness.subscribe(b"honest")
    [refused] = harness.subscribe(b"t", world_size=65_536)
    assert "limit" == refused.kind
    assert "world size 65536" in refused.reason
    assert "task_items larger" in refused.reason
    need = harness.need()
    assert need
    assert ranges.size(need.missing) <= MAX_WINDOW_TASKS


def test_all_trainers_windows_together_span_a_bounded_number_of_tasks() -> None:
    """Ranks of one job share their tasks; 250 subscriptions that lie far apart do not, and are refused in words."""
    harness = CoreHarness(make_plan(items=100_000_000, task_items=1, batch_size=4, window_samples=1_000_000))
    answers = [harness.subscribe(f"rank {n}".encode(), world_size=100, rank=n)[0] for n in range(100)]
    assert not any(isinstance(answer, Refused) for answer in answers)
    refused = [harness.subscribe(f"far {n}".encode(), position=10_000 * n)[0] for n in range(1, 100)]
    assert "let trainers start at the same position" in refused[-1].reason
    need = harness.need()
    assert need
    assert ranges.size(need.missing) <= MAX_TASKS


def test_trainers_that_come_before_the_ventilator_wait() -> None:
    """They are kept awake by heartbeats, keep their place by theirs, and are welcomed as soon as there is a plan."""
    harness = CoreHarness(welcomed=False)
    assert [] == harness.subscribe()
    assert [] == harness.hear(b"t", Credit(consumed=0, limit=3))
    beats = [
        message for message in harness.wait(7.0, b"t") if isinstance(message, Heartbeat) and message.position is None
    ]
    assert len(beats) >= 6
    assert [TrainerWelcome] == [type(message) for message in harness.welcome()]
    assert 1 == len(harness.core.streams.readers)


def test_trainers_that_wait_and_fall_silent_are_forgotten() -> None:
    """No samples are requested for a trainer that has left."""
    harness = CoreHarness(welcomed=False)
    harness.subscribe(b"a")
    harness.subscribe(b"b")
    harness.take(harness.core.gone(b"b"))
    harness.wait(6.0)
    assert [] == harness.welcome()


def test_unknown_trainers_are_told_to_start_over() -> None:
    """A sink that was restarted knows no trainer."""
    harness = CoreHarness()
    assert [Reset()] == harness.hear(b"x", Credit(consumed=3, limit=5))
    assert [Reset()] == harness.hear(b"x", Heartbeat())
    assert [] == harness.hear(b"x", Goodbye())


def test_a_silent_trainer_is_forgotten_and_a_slow_one_is_not() -> None:
    """Heartbeats count, consumption does not: a trainer may think for an hour."""
    harness = CoreHarness()
    harness.subscribe(b"slow")
    harness.subscribe(b"dead")
    harness.wait(60.0, b"slow")
    assert [b"slow"] == list(harness.core.streams.readers)
    harness.hear(b"slow", Credit(consumed=0, limit=200))


def test_silence_does_not_count_while_messages_wait_to_be_read() -> None:
    """Neither a trainer nor the ventilator is lost then, whatever the clock says; heartbeats go out all the same."""
    harness = CoreHarness()
    harness.subscribe(b"t")
    sent = harness.take(harness.core.tick(60.0, judging=False))
    assert {"Heartbeat"} == {type(message).__name__ for message in sent}
    assert [b"t"] == list(harness.core.streams.readers)
    assert Reopen(VENTILATOR) in harness.core.tick(60.0)
    assert {} == harness.core.streams.readers


def test_heartbeats_tell_a_trainer_how_far_it_was_served() -> None:
    """Absolute, so that it notices a batch that was lost with no other behind it."""
    harness = CoreHarness(make_plan(task_items=4, batch_size=4))
    harness.subscribe()
    harness.result(0)
    assert {4} == {message.position for message in harness.wait(1.0, b"t") if isinstance(message, Heartbeat)} - {None}


def test_another_stream_under_the_old_name_is_refused_to_its_readers() -> None:
    """The ventilator came back with another spec: positions mean nothing there; other batch sizes only start over."""
    harness = CoreHarness(make_plan(batch_size=4))
    harness.subscribe(b"t")
    [reset] = harness.welcome(make_plan(batch_size=5))
    assert Reset() == reset
    harness.subscribe(b"u")
    [refused] = harness.welcome(make_plan(batch_size=5, fingerprint="g"))
    assert "fingerprint" == refused.kind
    harness.subscribe(b"v")
    [refused] = harness.welcome(make_plan("validation"))
    assert "no stream 'train' now" == refused.reason
    assert {} == harness.core.streams.readers
