"""Shared memory: nobody reads what is being written, nobody opens what is not a segment, nothing stays behind."""

import fcntl
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from support.streams import until

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import Reference, Result, TaskKey
from penstock.protocol.plan import FieldSchema
from penstock.protocol.transport.segments import Loan, Segment, loan_of
from penstock.protocol.transport.shared_memory import LEAST_BYTES, Attachments, Pool, by_reference

SIZE = 100_000
MUCH = 10**9
_SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@pytest.fixture
def sink() -> Attachments:
    """Return the taker's side, in this very process: it opens its own descriptors as it would another's."""
    return Attachments(releases=True)


def filled_pool(sink: Attachments, limit: int = MUCH) -> Pool:
    """Return a pool whose first segments the sink has seen."""
    pool = Pool(limit)
    assert pool.take(SIZE, 0.0) is None
    sink.accept(pool.offers())
    return pool


def take(pool: Pool) -> Loan:
    """Return room that there must be."""
    loan = pool.take(SIZE, 0.0)
    assert loan is not None
    return loan


def make_message(loan: Loan, value: int = 7) -> tuple[Result, list[wire.Array]]:
    """Return a result whose first array lies in the loan; the second is too small to be shared."""
    room = loan.room()[:SIZE]
    room[:] = value
    arrays: list[wire.Array] = [room.reshape(10, -1), np.arange(10, dtype=np.int32)]
    frames = (
        FieldSchema(name="image", dtype="uint8", shape=(10, SIZE // 10)),
        FieldSchema(name="label", dtype="int32", shape=(10,)),
    )
    key = TaskKey(stream="train", ordinal=3)
    return Result(key=key, plan="p", worker="w", frames=frames), arrays


def over_the_wire(message: Result, arrays: list[wire.Array], memory: Attachments | None) -> list[wire.Array]:
    """Return the arrays as a peer gets them."""
    shared, left = by_reference(message, arrays)
    frames = [bytes(frame) for frame in wire.encode(shared, left)]
    return wire.decode(frames, wire.kinds(Result), memory)[1]


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
    """A link that was cut drops what was queued: nobody will release that, and the pool does without after a while."""
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


def sealed_file(seals: int, name: str = "penstock", size: int = 4096) -> int:
    """Return the descriptor of an anonymous file."""
    descriptor = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def foreign(what: str) -> list[int]:
    """Return descriptors of what a peer may name that is no segment, the one that it names first; or none."""
    match what:
        case "a regular file":
            with tempfile.TemporaryFile() as regular:
                regular.write(bytes(10_000))
                regular.flush()
                return [os.dup(regular.fileno())]
        case "another program's memory":
            return [sealed_file(_SEALED, "other")]
        case "memory that may shrink":
            return [sealed_file(fcntl.F_SEAL_GROW)]
        case "a tiny one":
            return [sealed_file(_SEALED, size=10)]
        case "a giant":
            return [sealed_file(_SEALED, size=1 << 40)]
        case "a pipe":
            return list(os.pipe())
        case "a device":
            return [os.open("/dev/zero", os.O_RDWR)]
        case "one of our own sockets":
            return [socket.socket().detach()]
        case "huge pages":
            return [os.memfd_create("penstock", os.MFD_HUGETLB | os.MFD_ALLOW_SEALING)]
        case _:
            return []


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("a regular file", "no segment"),
        ("another program's memory", "no segment"),
        ("memory that may shrink", "change its size"),
        ("a tiny one", "has 10 bytes"),
        ("a giant", "has 1099511627776 bytes"),
        ("a pipe", "no segment"),
        ("a device", "no segment"),
        ("one of our own sockets", "no segment"),
        ("huge pages", "no segment"),
        ("a closed descriptor", "No such file"),
        ("no process", "No such file"),
        ("another segment", "another segment"),
        ("another generation", "given back"),
    ],
)
def test_a_reference_to_anything_else_is_refused_in_words(sink: Attachments, what: str, words: str) -> None:
    """Whatever a peer claims, nothing is opened that is not a segment, and nothing beyond its end is read."""
    gc.collect()  # what an earlier test has left in cycles would be closed meanwhile
    before = descriptors()
    segment = Segment.create(SIZE)
    segment.generation = 1
    fields = segment.reference(1).model_dump()
    opened = foreign(what)
    match what:
        case "a closed descriptor":
            fields["descriptor"] = 99_999
        case "no process":
            fields["pid"] = 2**22 + 7
        case "another segment":
            fields["token"] = "0" * 32
        case "another generation":
            fields["generation"] = 2
        case _:
            fields["descriptor"] = opened[0]
    with pytest.raises(RemoteProtocolError, match=words) as refused:
        sink.open(Reference(**fields))
    for descriptor in opened:
        os.close(descriptor)
    assert ("stale" if what == "another generation" else "shared") == refused.value.reason
    del refused
    gc.collect()
    kept = 2 if what == "another generation" else 1  # the segment made here, and one that is good for a later use
    assert before + 2 * kept == descriptors(), "a descriptor was left open"


def test_a_process_that_shares_no_memory_refuses_references(sink: Attachments) -> None:
    """An endpoint without attachments (the ventilator's, or memory switched off) drops such a message."""
    pool = filled_pool(sink)
    with pytest.raises(RemoteProtocolError, match="refused"):
        over_the_wire(*make_message(take(pool)), None)


def test_references_must_match_the_arrays(sink: Attachments) -> None:
    """One reference too few, or one beside a raw frame, is a malformed message and not a crash."""
    pool = filled_pool(sink)
    shared, left = by_reference(*make_message(take(pool)))
    frames = [bytes(frame) for frame in wire.encode(shared, left)]
    changes: list[dict[str, object]] = [
        {"places": shared.places[:1]},
        {"places": ((1, 0), None)},
        {"places": ((0, 1), None)},
        {"places": ((0, 2**40), None)},
        {"memory": ()},
    ]
    headers = [shared.model_copy(update=change).model_dump_json().encode() for change in changes]
    broken = [[frames[0], header, *frames[2:]] for header in headers]
    for each in (*broken, [*frames, b"more"], frames[:2]):
        with pytest.raises(RemoteProtocolError):
            wire.decode(each, wire.kinds(Result), sink)


def test_a_segment_cannot_shrink_under_a_reader() -> None:
    """Neither by its owner nor by anybody who found it: reading it never ends in SIGBUS."""
    segment = Segment.create(SIZE)
    assert segment.descriptor is not None
    with pytest.raises(PermissionError):
        os.ftruncate(segment.descriptor, 10)


def test_a_reader_cannot_write() -> None:
    """A trainer maps segments for reading only."""
    segment = Segment.create(SIZE)
    reader = Segment.attach(segment.reference(0), writable=False)
    assert not np.asarray(Loan(reader, 0, releases=False)).flags.writeable
    with pytest.raises(TypeError):
        reader.generation = 5


def test_what_a_killed_owner_wrote_can_be_read_and_nothing_of_it_stays_behind() -> None:
    """Kill -9 of a worker: its samples stay with the sink until that is done with them, and then are gone."""
    sink, before = Attachments(releases=True), open_segments()
    program = """
import sys, time
from penstock.protocol.transport.segments import Loan, Segment
segment = Segment.create(100_000)
segment.generation = 1
Loan(segment, 1, releases=False).room()[:] = 9
print(segment.reference(1).model_dump_json(), flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        reference = Reference.model_validate_json(owner.stdout.readline())
        samples = sink.open(reference)
        sink.sweep()
        assert 1 == sink.count
        os.kill(owner.pid, signal.SIGKILL)
    assert 1 == sink.count
    sink.sweep()
    assert 0 == sink.count, "nobody can refer to it any more"
    assert (9, 9) == (samples.min(), samples.max())
    del samples
    until(lambda: set(open_segments()) <= set(before), "the kernel to free the segment")


def open_segments() -> list[str]:
    """Return the segments that this process has open or mapped."""
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:penstock" in line]
    links = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return mapped + [link for link in links if "memfd:penstock" in link]
