"""The sink's link to the ventilator: hello, reports, silence."""

import pytest
from support.cores.assembly_harness import HELLO, INTERVALS, CoreHarness
from support.plans import (
    LEASE_KEY,
    make_plan,
)

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.instructions import Failed, Reopen
from penstock.protocol.messages import (
    Drain,
    Heartbeat,
    Reset,
    SinkWelcome,
)
from penstock.sink.core.assembly import VENTILATOR


def test_the_sink_says_hello_until_it_is_welcomed() -> None:
    """A lost welcome is found out, although the ventilator's heartbeats go on."""
    harness = CoreHarness(welcomed=False)
    sent = harness.wait(7.0)
    assert sent.count(HELLO) >= 6
    assert [] == harness.take(harness.core.progress())


def test_the_sink_reports_again_now_and_then() -> None:
    """A lost report is repaired by the next: all of it is absolute."""
    harness = CoreHarness()
    harness.subscribe()
    harness.take(harness.core.progress())
    assert [] == harness.take(harness.core.progress())
    harness.wait(1.25, b"t")
    [progress] = harness.take(harness.core.progress())
    assert 1 == len(progress.needs)


def test_a_silent_ventilator_is_called_again_under_a_fresh_identity() -> None:
    """Meanwhile trainers are served from what is here."""
    harness = CoreHarness(make_plan(task_items=4, batch_size=4))
    harness.subscribe()
    harness.now = 5.5
    harness.hear(b"t", Heartbeat())
    assert [Reopen(VENTILATOR), HELLO] == [
        each for each in harness.take(harness.core.tick(harness.now)) if not isinstance(each, Heartbeat)
    ]
    harness.result(0)
    assert [(0, 4)] == harness.spans()


def test_a_ventilator_that_does_not_know_us_is_told_who_we_are() -> None:
    """It was restarted; what is held stays."""
    harness = CoreHarness(make_plan(task_items=4, batch_size=8))
    harness.subscribe()
    harness.result(0)
    assert [Reopen(VENTILATOR), HELLO] == harness.hear(VENTILATOR, Reset())
    harness.welcome()
    assert 1 == harness.missing()[0]


def test_only_the_ventilator_may_command_the_sink() -> None:
    """A trainer cannot reset it, drain it, give it plans or quarantine items."""
    harness = CoreHarness()
    harness.subscribe()
    welcome = SinkWelcome(streams=(), intervals=INTERVALS, leases=LEASE_KEY)
    for message in (Reset(), Drain(reason="x"), welcome, harness.failure(0, 0)):
        with pytest.raises(RemoteProtocolError, match="unexpected"):
            harness.core.receive(b"t", message, (), 0.0)
    assert [Failed("other version")] == harness.hear(VENTILATOR, Drain(reason="other version"))
