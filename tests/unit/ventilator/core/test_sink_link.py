"""The link to the sink: greetings, reports in order, and another sink."""

import pytest
from support.cores.leases_harness import SINK, CoreHarness, key

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import (
    Progress,
    SinkWelcome,
    StreamNeed,
    WorkerWelcome,
)
from penstock.ventilator.core.sink_link import MOST_MISSING


def test_a_worker_that_pushes_to_another_sink_is_welcomed_again(harness: CoreHarness) -> None:
    """The welcome that named the new sink was lost: the heartbeat shows it."""
    assert [] == harness.beat(b"a", sinks=("sink",))
    [welcome] = harness.beat(b"a", sinks=("an old one",))
    assert isinstance(welcome, WorkerWelcome)
    assert ["results"] == [sink.results for sink in welcome.sinks]


def test_stale_progress_is_ignored(harness: CoreHarness) -> None:
    """A report that was overtaken by a newer one changes nothing."""
    harness.sequence = 5
    harness.miss((4, 6))
    harness.sequence = 3
    harness.miss((0, 2))
    assert {b"a": [key(4), key(5)]} == harness.deal()


@pytest.mark.parametrize("field", ["missing", "came"])
@pytest.mark.parametrize("tasks", [((3, 3),), ((5, 4),), ((0, 2), (1, 3)), ((-1, 2),)])
def test_progress_that_makes_no_sense_is_rejected(
    harness: CoreHarness, field: str, tasks: tuple[tuple[int, int], ...]
) -> None:
    """Nothing that a sink says can stop the ventilator from answering others."""
    need = StreamNeed.checked({"stream": "train", "missing": ((0, 1),), field: tasks})
    with pytest.raises(RemoteProtocolError, match="progress"):
        harness.leases.receive(SINK, Progress(sequence=9, needs=(need,)), harness.now)
    harness.leases.validate()


def test_of_more_tasks_than_can_be_taken_at_once_the_lowest_are(harness: CoreHarness) -> None:
    """A report of 10^12 tasks is no work for 10^12 turns: the next reports bring the others, as these arrive."""
    harness.miss((0, 10**12))
    queue = harness.leases.queues["train"]
    assert MOST_MISSING == len(queue.works)
    assert [key(0), key(1)] == harness.deal()[b"a"]
    harness.finish(b"a", key(0))
    harness.miss((1, 10**12))
    assert [key(2)] == harness.deal()[b"a"]
    assert MOST_MISSING == len(queue.works)
    harness.leases.validate()


def test_another_sink_starts_from_what_it_says(harness: CoreHarness) -> None:
    """Nothing is leased between its hello and its first report, and workers learn its address."""
    harness.miss((0, 9))
    harness.now += 3.0  # the first one is silent
    assert [] == harness.sink(b"sink 2", results="elsewhere")
    harness.now += 1.0  # and is not heard in a heartbeat's time after the other one's hello
    welcomes = harness.sink(b"sink 2", results="elsewhere")
    assert [SinkWelcome, WorkerWelcome] == [type(message) for message in welcomes]
    assert ["elsewhere"] == [sink.results for sink in welcomes[1].sinks]
    assert {} == harness.deal()
    harness.miss((7, 8), peer=b"sink 2")
    assert {b"a": [key(7)]} == harness.deal()


def test_a_sink_that_says_hello_again_is_only_welcomed_again(harness: CoreHarness) -> None:
    """Its welcome was lost; neither work nor the order of its reports is."""
    harness.sequence = 8
    harness.miss((0, 2))
    assert [SinkWelcome] == [type(message) for message in harness.sink()]
    harness.sequence = 4
    harness.miss((5, 6))
    assert {b"a": [key(0), key(1)]} == harness.deal()


def test_a_silent_sink_stops_the_work(harness: CoreHarness) -> None:
    """Results would go nowhere: nothing is leased until a sink is there again."""
    harness.miss((0, 9))
    harness.now = 5.1
    harness.beat(b"a")
    harness.take(harness.leases.tick(harness.now))
    assert 1 == len(harness.noted("sink silent"))
    assert {} == harness.deal()


def test_a_stopped_stream_is_told_once(harness: CoreHarness) -> None:
    """The reason that the sink gives is logged by the ventilator too, not with every report."""
    harness.miss(stopped="too many failures")
    harness.miss(stopped="too many failures")
    assert ["too many failures"] == [note.fields["reason"] for note in harness.noted("stream stopped")]
