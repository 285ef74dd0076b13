"""What `SampleCollection` makes of the sink's replies: in order, once each, and never more than was asked for."""

import numpy as np
import pytest
from support.plans import make_plan, make_samples

from penstock.observe.sample_client import SampleCollection
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import SampleReply
from penstock.protocol.wire import Array, frames_of


def answer(*positions: int, fingerprint: str = "f", readers: int = 1) -> tuple[SampleReply, list[Array]]:
    """Return an answer of the sink; the items are the positions."""
    plan = make_plan(fingerprint=fingerprint)
    arrays = make_samples(plan, 0, list(positions), [0] * len(positions))
    frames = frames_of(plan.schema, arrays)
    return SampleReply(plan=plan, readers=readers, positions=positions, frames=frames), arrays


def test_each_sample_is_taken_once_and_the_next_question_goes_on_after_it() -> None:
    """An answer that came twice, or late, adds nothing."""
    seen = SampleCollection("train", 5)
    assert (0, 5) == (seen.request.position, seen.request.count)
    assert seen.add(*answer(3, 4))
    assert (5, 3) == (seen.request.position, seen.request.count)
    assert not seen.add(*answer(3, 4))
    assert seen.add(*answer(4, 7, 9, 11, 12))
    assert [3, 4, 7, 9, 11] == [sample.position for sample in seen.samples]
    assert ["item 3", "item 4", "item 7", "item 9", "item 11"] == [sample.item for sample in seen.samples]
    assert 11 == int(seen.samples[-1].fields["item"])


def test_another_spec_behind_the_address_begins_the_sheet_anew() -> None:
    """Samples of two streams never stand on one sheet."""
    seen = SampleCollection("train", 5)
    seen.add(*answer(8, 9))
    assert seen.add(*answer(1, 2, fingerprint="g"))
    assert [1, 2] == [sample.position for sample in seen.samples]
    assert 3 == seen.request.position


def test_a_stream_without_trainers_is_known_from_one_that_gave_no_answer() -> None:
    """The two are told in different words."""
    seen = SampleCollection("train", 5)
    assert seen.has_readers is None
    assert not seen.add(*answer(readers=0))
    assert seen.has_readers is False


@pytest.mark.parametrize("fault", ["a field less", "another shape", "a position less"])
def test_an_answer_that_is_not_of_the_schema_is_rejected(fault: str) -> None:
    """What it claims of its arrays is held to the plan."""
    message, arrays = answer(1, 2)
    match fault:
        case "a field less":
            message = message.model_copy(update={"frames": message.frames[:-1]})
        case "another shape":
            frame = message.frames[0].model_copy(update={"shape": (2, 4, 1, 1)})
            message = message.model_copy(update={"frames": (frame, *message.frames[1:])})
            arrays[0] = np.zeros((2, 4, 1, 1), np.uint8)
        case _:
            message = message.model_copy(update={"positions": (1,)})
    seen = SampleCollection("train", 5)
    with pytest.raises(RemoteProtocolError, match="are not"):
        seen.add(message, arrays)
    assert [] == seen.samples
