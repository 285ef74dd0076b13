"""Results with numbers at their extremes: the sink's core refuses them in words, or goes on."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from support.cores.assembly_harness import CoreHarness
from support.drawn import some
from support.plans import make_plan, make_result, make_task

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import Failed, Failure, Outcomes, SinkHello, TaskKey
from penstock.sink.core.assembly import VENTILATOR

_numbers = st.sampled_from([0, 1, 3, 4, 5, 2**31, 2**53, 2**61, 2**62 - 1])
_keys = st.builds(TaskKey, stream=st.sampled_from(["train", "x"]), ordinal=_numbers, item_offset=st.none() | _numbers)
_failure = st.builds(
    Failure,
    offset=_numbers,
    item=_numbers,
    path=st.text(max_size=8),
    reason=st.text(max_size=8),
    attempts=_numbers,
    fatal=st.booleans(),
)
_failures = some(_failure)
_outcomes = st.builds(
    Outcomes,
    stream=st.sampled_from(["train", "x"]),
    heard=_numbers,
    settled=some(st.tuples(_numbers, _numbers)) | st.just(((0, 2**61),)),
    failed=some(st.builds(Failed, ordinal=_numbers, failure=_failure)),
    stopped=st.just("") | st.text(max_size=8),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_keys, _failures, st.booleans(), st.integers(0, 5)), max_size=8))
def test_whatever_a_worker_sends_as_a_result_the_core_stays_sound(
    sent: list[tuple[TaskKey, tuple[Failure, ...], bool, int]],
) -> None:
    """Every result is taken or refused; a reader that comes afterwards is answered, and the core observes itself."""
    plan = make_plan()
    harness = CoreHarness(plan)
    harness.subscribe(b"t")
    for key, failures, known, rows in sent:
        result, arrays = make_result(plan, make_task(plan, TaskKey(stream="train", ordinal=0)))
        wrong = result.model_copy(update={"key": key, "failures": failures, "plan": plan.token if known else "another"})
        with suppress(RemoteProtocolError):
            harness.take(harness.core.receive(b"w", wrong, [array[:rows] for array in arrays], harness.now))
        harness.core.validate()
        harness.core.progress()
        harness.core.observe(harness.now)
    assert harness.subscribe(b"u")


@settings(max_examples=40, deadline=None)
@given(st.lists(_outcomes, max_size=4))
def test_whatever_is_published_one_of_several_sinks_stays_sound(sent: list[Outcomes]) -> None:
    """Every message is taken or refused; the core observes itself and reports, and takes in what comes."""
    plan = make_plan()
    harness = CoreHarness(plan, hello=SinkHello(incarnation="i", name="a", results="results", version="1.0"))
    harness.subscribe(b"t")
    for message in sent:
        with suppress(RemoteProtocolError):
            harness.take(harness.core.receive(VENTILATOR, message, (), harness.now))
        harness.core.validate()
        harness.need()
        harness.core.observe(harness.now)
    harness.result(0)
    assert harness.core.subscribers or any(each.stopped for each in sent) or harness.core.observe(0.0).stopped
