"""Holds: samples that a reader uses where they lie are not written over, and a dead reader holds nothing."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from support.services.pools import MUCH, SIZE, filled_pool, make_message, over_the_wire, take

from penstock.protocol import wire
from penstock.protocol.transport.memory.file_locks import have_locks
from penstock.protocol.transport.segments import Loan, Segment, can_share, loan_of
from penstock.protocol.transport.shared_memory import Attachments, Pool

#: Holds the segment that its argument names, says so, and waits to be killed.
_READER = """
import sys, time
from penstock.protocol.records import Reference
from penstock.protocol.transport.segments import Segment
segment = Segment.attach(Reference.model_validate_json(sys.argv[1]), writable=False, holds=True)
print(segment.hold(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def sink() -> Attachments:
    """Return the consumer's side."""
    return Attachments(releases=True)


def held_by_a_trainer(pool: Pool, sink: Attachments) -> tuple[list[wire.Array], Loan, Segment]:
    """Return arrays that a trainer holds after the sink has released them, with its loan and the owner's segment."""
    loan = take(pool)
    message, arrays = make_message(loan)
    got = over_the_wire(message, arrays, Attachments(releases=False, holds=True))
    held = loan_of(got[0])
    assert held is not None
    assert held.hold()
    over_the_wire(message, arrays, sink)  # released at once: nothing keeps it here
    assert loan.segment.released == loan.generation
    return got, held, loan.segment


def test_a_held_segment_is_not_written_again_until_the_last_array_is_gone(sink: Attachments) -> None:
    """The sink has released it, and the owner still leaves it alone; then it is the first one to be used again."""
    pool = filled_pool(sink)
    got, held, segment = held_by_a_trainer(pool, sink)
    part = got[0][2:4]
    for _ in range(20):
        loan = take(pool)
        assert loan.segment is not segment
        loan.room()[:] = 99
        loan.give_back()
    assert held.intact
    assert 7 == part.max()
    del got, held, part
    assert take(pool).segment is segment


def test_a_pool_does_not_retire_what_is_held(sink: Attachments) -> None:
    """Segments that were not needed for long are given up, all but the one that a trainer holds."""
    pool = filled_pool(sink)
    got, held, segment = held_by_a_trainer(pool, sink)
    before = pool.count
    for _ in range(200):
        take(pool).give_back()
    assert pool.count < before
    assert held.intact
    assert 7 == got[0].min()
    assert not segment.take()


def test_a_reader_that_comes_too_late_finds_out_after_holding(sink: Attachments) -> None:
    """The owner began to write first: the hold succeeds, and the loan is not intact."""
    pool = filled_pool(sink)
    loan = take(pool)
    message, arrays = make_message(loan)
    got = over_the_wire(message, arrays, Attachments(releases=False, holds=True))
    over_the_wire(message, arrays, sink)
    assert take(pool).segment is loan.segment
    late = loan_of(got[0])
    assert late is not None
    assert late.hold()
    assert not late.intact


def test_two_loans_of_one_segment_hold_it_until_both_are_gone() -> None:
    """Batches of one task come in several messages: the first one's end does not end the second one's hold."""
    segment = Segment.create(SIZE)
    reader = Segment.attach(segment.reference(0), writable=False, holds=True)
    assert reader.hold()
    assert reader.hold()
    reader.let_go()
    assert not segment.take()
    reader.let_go()
    assert segment.take()


def test_an_owner_that_does_not_heed_holds_is_not_trusted() -> None:
    """A release without holds leaves the word in its header at zero: such samples are copied."""
    segment = Segment.create(SIZE)
    assert segment.descriptor is not None
    os.pwrite(segment.descriptor, bytes(8), 32)
    assert not Segment.attach(segment.reference(0), writable=False, holds=True).hold()


def test_the_hold_of_a_killed_reader_ends() -> None:
    """Kill -9 of a trainer: the kernel lets go for it, and the owner writes again."""
    segment = Segment.create(SIZE)
    program = [sys.executable, "-c", _READER, segment.reference(0).model_dump_json()]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert "True\n" == reader.stdout.readline()
        assert not segment.take()
        os.kill(reader.pid, signal.SIGKILL)
    assert segment.take()


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded")
def test_a_forked_process_keeps_what_its_parent_lets_go(sink: Attachments) -> None:
    """It has the same arrays: the owner waits for both, and the parent attaches the segment anew."""
    pool = Pool(MUCH)
    pool.take(SIZE, 0.0)
    sink.accept(pool.offers())
    loan = take(pool)
    message, arrays = make_message(loan)
    trainer = Attachments(releases=False, holds=True)
    got = over_the_wire(message, arrays, trainer)
    held = loan_of(got[0])
    assert held is not None
    assert held.hold()
    ready, done = os.pipe()
    if (child := os.fork()) == 0:
        os.close(done)
        os.read(ready, 1)  # until the parent closes its end
        os._exit(0 if 7 == int(np.min(got[0])) else 1)
    os.close(ready)
    del got, held
    again = over_the_wire(message, arrays, trainer)
    assert not loan.segment.take()
    os.close(done)
    assert 0 == os.waitpid(child, 0)[1]
    fresh = loan_of(again[0])
    assert fresh is not None
    assert not fresh.segment.forked
    del again, fresh
    trainer.sweep()


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded")
def test_a_fork_marks_every_hold_while_others_begin() -> None:
    """A link's thread takes holds at any moment; none that was there before a fork may count as the parent's alone."""
    owner = Segment.create(SIZE)

    def held() -> Segment:
        reader = Segment.attach(owner.reference(0), writable=False, holds=True)
        assert reader.hold()
        return reader

    before, over = sys.getswitchinterval(), threading.Event()

    def go_on_holding() -> None:
        while not over.is_set():
            for reader in [held() for _ in range(20)]:
                reader.let_go()

    thread = threading.Thread(target=go_on_holding)
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(20):
            readers = [held() for _ in range(100)]
            if (child := os.fork()) == 0:
                os._exit(0 if all(reader.forked for reader in readers) else 1)
            assert 0 == os.waitpid(child, 0)[1]
            assert all(reader.forked for reader in readers)
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(before)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a kernel without locks of open file descriptions, as some sandboxes of containers are."""
    real = fcntl.fcntl

    def without(descriptor: int, command: int, *arguments: int) -> object:
        if command in (fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK):
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(descriptor, command, *arguments)

    have_locks.cache_clear()
    monkeypatch.setattr(fcntl, "fcntl", without)
    yield
    have_locks.cache_clear()


@pytest.mark.usefixtures("no_locks")
def test_without_such_locks_samples_travel_in_messages() -> None:
    """No memory is offered, so nothing is shared that could not be held."""
    assert not can_share()
    pool = Pool(MUCH)
    assert pool.take(SIZE, 0.0) is None
    assert () == pool.offers()
