"""Shared memory: nothing is read while it is written, only segments are opened, nothing stays behind."""

import fcntl

import numpy as np
import pytest
from support.services.pools import MUCH, SIZE, filled_pool, make_message, over_the_wire, take

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.transport.segments import loan_of
from penstock.protocol.transport.shared_memory import LEAST_BYTES, Attachments, Pool, by_reference

_SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@pytest.fixture
def sink() -> Attachments:
    """Return the consumer's side, in this very process: it opens its own descriptors as it would another's."""
    return Attachments(releases=True)


def test_large_arrays_travel_by_reference_and_arrive_equal(sink: Attachments) -> None:
    """The message holds the small array and says where the large one is."""
    pool = filled_pool(sink)
    message, arrays = make_message(take(pool))
    shared, left = by_reference(message, arrays)
    assert 1 == len(shared.memory)
    assert [(0, 0), None] == list(shared.places)
    assert [10] == [array.size for array in left]
    got = over_the_wire(message, arrays, sink)
    assert all(np.array_equal(expected, actual) for expected, actual in zip(arrays, got, strict=True))
    assert not got[0].flags.writeable


def test_a_segment_is_written_again_only_when_the_last_array_over_it_is_gone(sink: Attachments) -> None:
    """A slice of a view of the array keeps it; when that goes too, the owner gets the same segment back."""
    pool = filled_pool(sink)
    loan = take(pool)
    got = over_the_wire(*make_message(loan), sink)
    part = got[0][3:5, 100::2]
    del got
    others = [take(pool) for _ in range(pool.count - 1)]
    assert loan.segment not in [other.segment for other in others]
    assert pool.take(SIZE, 0.0) is None
    assert 7 == part.min()
    del part
    assert take(pool).segment is loan.segment


def test_the_same_result_twice_is_released_once(sink: Attachments) -> None:
    """A repeated message shares the first one's loan: neither frees what the other still shows."""
    pool = filled_pool(sink)
    loan = take(pool)
    message, arrays = make_message(loan)
    first, second = over_the_wire(message, arrays, sink), over_the_wire(message, arrays, sink)
    del first
    assert loan.segment.released < loan.segment.generation
    assert 7 == second[0].min()


def test_a_message_that_comes_after_its_memory_was_released_is_refused(sink: Attachments) -> None:
    """Replayed: the owner may be writing there by now, or not; either way it is dropped and counted."""
    pool = filled_pool(sink)
    loan = take(pool)
    message, arrays = make_message(loan)
    over_the_wire(message, arrays, sink)
    with pytest.raises(RemoteProtocolError, match="given back") as refused:
        over_the_wire(message, arrays, sink)
    assert "stale" == refused.value.reason


def test_a_reader_that_is_too_late_finds_out_after_copying(sink: Attachments) -> None:
    """A trainer holds no loan that counts: it copies, and then knows whether the owner had begun to write again."""
    pool = filled_pool(sink)
    loan = take(pool)
    trainer = Attachments(releases=False)
    late = over_the_wire(*make_message(loan), trainer)
    known = loan_of(late[0])
    assert known is not None
    assert known.intact
    kept = over_the_wire(*make_message(loan), sink)
    assert known.intact
    del kept
    while take(pool).segment is not loan.segment:
        pass
    assert not known.intact


def test_without_an_answer_to_its_offers_a_pool_stays_with_the_socket() -> None:
    """A sink on another host never releases a segment: after some patience none is offered for a minute."""
    pool = Pool(MUCH)
    offers = []
    for second in range(60):
        assert pool.take(SIZE, float(second)) is None
        offers.append(len(pool.offers()))
    assert 4 == sum(offers)
    assert 0 == pool.count


def test_a_pool_that_had_no_answer_tries_again_later(sink: Attachments) -> None:
    """The sink may have been busy for long, or out of descriptors, when it was asked first."""
    pool = Pool(MUCH)
    for second in range(69):
        assert pool.take(SIZE, float(second)) is None
        pool.offers()
    assert pool.take(SIZE, 70.0) is None
    sink.accept(pool.offers())
    assert pool.take(SIZE, 71.0) is not None


def test_a_pool_keeps_to_its_limit(sink: Attachments) -> None:
    """When all segments that fit the limit are lent, samples go through the socket."""
    pool = filled_pool(sink, limit=3 * SIZE)
    lent = []
    while loan := pool.take(SIZE, 0.0):
        lent.append(loan)
        sink.accept(pool.offers())
    for _ in range(10):
        assert pool.take(SIZE, 0.0) is None
        sink.accept(pool.offers())
    assert 3 == pool.count == len(lent)


def test_a_pool_grows_while_all_is_lent_and_shrinks_when_little_is_used(sink: Attachments) -> None:
    """What a burst needed is given up once it was not needed for a while; peers unmap what was given up."""
    pool = filled_pool(sink)
    lent = []
    for _ in range(40):
        if loan := pool.take(SIZE, 0.0):
            lent.append(loan)
        sink.accept(pool.offers())
    assert pool.count > 8
    for loan in lent:
        loan.give_back()
    lent.clear()
    for _ in range(300):
        loan = take(pool)
        over_the_wire(*make_message(loan), sink)
    assert pool.count <= 2
    assert sink.count <= 2


def test_segments_whose_messages_were_lost_are_given_up(sink: Attachments) -> None:
    """A link that was cut drops what was queued: it will never be released, and the pool does without after a while."""
    pool = filled_pool(sink)
    lost = [take(pool)]
    lost += [take(pool) for _ in range(pool.count - 1)]
    assert pool.take(SIZE, 500.0) is None
    sink.accept(pool.offers())
    again = pool.take(SIZE, 700.0)
    assert again is not None
    assert again.segment not in [loan.segment for loan in lost]
    assert 1 == pool.count


def test_segments_that_were_released_long_ago_are_used_again(sink: Attachments) -> None:
    """A worker that had nothing to do for an hour goes on with what it has."""
    pool = filled_pool(sink)
    loan = take(pool)
    over_the_wire(*make_message(loan), sink)
    later = pool.take(SIZE, 3600.0)
    assert later is not None
    assert 4 == pool.count


def test_a_pool_never_takes_up_all_file_descriptors(sink: Attachments) -> None:
    """Many small tasks in a large window: segments are bounded in number too."""
    pool = filled_pool(sink)
    lent = []
    for _ in range(1000):
        if loan := pool.take(SIZE, 0.0):
            lent.append(loan)
        sink.accept(pool.offers())
    assert 100 < pool.count <= 128


def test_small_results_are_not_worth_a_segment(sink: Attachments) -> None:
    """One item alone, or a task of small arrays, travels in the message."""
    assert filled_pool(sink).take(LEAST_BYTES - 1, 0.0) is None
