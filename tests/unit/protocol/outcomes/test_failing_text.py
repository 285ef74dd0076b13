"""How many failures one message bears: each task's failures are told whole, and each task is told at last."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol import wire
from penstock.protocol.messages import Failed, Failure, Outcomes
from penstock.protocol.outcomes.failing_text import failed_in, fitting


def failures(count: int, reason: str = "broken") -> list[Failure]:
    """Return failures of so many items."""
    return [Failure(offset=n, item=n, path=f"{n}.jpg", reason=reason) for n in range(count)]


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([10, 3000])), max_size=12))
def test_tasks_are_told_whole_or_left_out(tasks: list[tuple[int, int]]) -> None:
    """As many as fit, from the first on."""
    known = [(ordinal, failures(count, "x" * length)) for ordinal, (count, length) in enumerate(tasks)]
    found, left_out = failed_in(known)
    told = [ordinal for ordinal, _ in known if ordinal not in left_out]
    assert sorted(left_out) == list(range(len(told), len(known)))
    assert [Failed(ordinal=n, failure=each) for n in told for each in known[n][1]] == list(found)
    assert len(found) == fitting([each.failure for each in found])


def test_a_task_of_endless_reasons_is_told_all_the_same() -> None:
    """Its reasons are cut short; else no sink would ever hear of it, and its readers would wait."""
    long = failures(4096, "it broke " * 400)
    found, left_out = failed_in([(3, long), (4, failures(1))])
    assert {4} == left_out
    assert [(3, each.offset, each.reason[:100]) for each in long] == [
        (each.ordinal, each.failure.offset, each.failure.reason[:100]) for each in found
    ]
    message = Outcomes(stream="train", heard=1, settled=((3, 4),), failed=found)
    assert message == wire.decode(wire.encode(message), wire.kinds(Outcomes))[0]
