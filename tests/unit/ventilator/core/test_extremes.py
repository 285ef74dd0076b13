"""Numbers at their extremes from an admitted sink: the ventilator's core refuses them in words, or goes on."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.cores.leases_harness import SINK, CoreHarness, key
from support.drawn import PLAIN, drawn, some

from penstock.protocol import messages
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.stats import QuarantinedItem, SinkStats

#: Numbers at which something may break: ends of ranges, and what is small enough to mean this stream's tasks.
_numbers = st.sampled_from([0, 1, 4, 5, 2**31, 2**53, 2**61, 2**62 - 2, 2**62 - 1]) | st.integers(0, 30)
_failures = st.builds(
    messages.Failure, offset=_numbers, item=_numbers, path=st.just("a"), reason=st.just("b"), fatal=st.booleans()
)
_needs = st.builds(
    messages.StreamNeed,
    stream=st.sampled_from(["train", "", "other"]),
    missing=some(st.tuples(_numbers, _numbers)),
    came=some(st.tuples(_numbers, _numbers)),
    partial=some(st.tuples(_numbers, some(_numbers))),
    stopped=st.just("") | st.text(max_size=8),
    lacks=some(st.tuples(_numbers, _numbers)),
    made=some(st.builds(messages.Made, ordinal=_numbers, offsets=some(_numbers), holder=_numbers)),
    failing=some(st.builds(messages.Failing, ordinal=_numbers, failure=_failures, vouched=st.booleans())),
    settled=some(st.tuples(_numbers, _numbers)),
    failed=some(st.builds(messages.Failed, ordinal=_numbers, failure=_failures)),
)
_progress = st.builds(messages.Progress, sequence=_numbers, needs=some(_needs))
_from_sink = st.one_of(
    _progress,
    _progress,
    st.builds(messages.Heartbeat, sink_stats=drawn(SinkStats), ledger=_numbers, position=_numbers),
    st.builds(messages.ListPaths, stream=st.just("train"), start=_numbers),
    PLAIN[messages.Goodbye],
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(_from_sink, max_size=6), PLAIN[messages.SinkHello], st.sampled_from(["", "a"]))
def test_whatever_an_admitted_sink_sends_the_core_stays_sound(
    sent: list[messages.AnyMessage], hello: messages.SinkHello, name: str
) -> None:
    """Every message is handled or refused; afterwards another sink and a worker are served as ever."""
    harness = CoreHarness()
    harness.join(b"w")
    harness.hear(SINK, hello.model_copy(update={"version": "1.0", "name": name}))
    for message in sent:
        with suppress(RemoteProtocolError):
            harness.hear(SINK, message)
        harness.leases.validate()
        harness.deal()
        harness.wait(1, b"w")
        harness.leases.observe(harness.now)
    held = harness.leases.workers[b"w"].held
    harness.finish(b"w", *held)  # so that both its slots are free
    with suppress(RemoteProtocolError):
        harness.hear(SINK, messages.Goodbye())
    harness.sink(b"another")
    harness.miss((0, 2), peer=b"another")
    harness.deal()
    assert [key(0), key(1)] == list(held)


def test_the_largest_line_of_a_ledger_is_one_that_can_be_counted_past() -> None:
    """Number 2^62 - 2 is taken and acknowledged in a heartbeat; a larger one is no message."""
    harness = CoreHarness()
    harness.sink()
    line = {
        "stream": "train",
        "epoch": 0,
        "item": 1,
        "path": "a",
        "reason": "b",
        "attempts": 1,
        "worker": "w",
        "kind": "read",
    }
    largest = QuarantinedItem.model_validate({"number": 2**62 - 2, **line})
    harness.hear(SINK, messages.Heartbeat(sink_stats=SinkStats(ledger=(largest,))))
    harness.now += 2
    [beat] = [each for each in harness.wait(1) if isinstance(each, messages.Heartbeat)][:1]
    assert 2**62 - 1 == beat.ledger
    with pytest.raises(ValidationError, match="number"):
        QuarantinedItem.model_validate({"number": 2**62 - 1, **line})
