"""Segments: nothing else is opened in their place, readers cannot write, and nothing stays behind."""

import fcntl
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from support.services.pools import SIZE, filled_pool, make_message, over_the_wire, take
from support.streams import until

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import Reference, Result
from penstock.protocol.transport.segments import Loan, Segment
from penstock.protocol.transport.shared_memory import Attachments, by_reference

_SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@pytest.fixture
def sink() -> Attachments:
    """Return the consumer's side, in this very process: it opens its own descriptors as it would another's."""
    return Attachments(releases=True)


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


def descriptors_of(files: set[tuple[int, int]]) -> int:
    """Return how many descriptors of these files (device and number) this process has; other tests left others."""
    found = 0
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers
        with suppress(OSError):  # closed meanwhile, as that of this very list
            found += identity(int(number)) in files
    return found


def identity(descriptor: int) -> tuple[int, int]:
    """Return the device and the number of an open file."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


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
    segment = Segment.create(SIZE)
    segment.generation = 1
    fields = segment.reference(1).model_dump()
    opened = foreign(what)
    assert segment.descriptor is not None
    files = {identity(descriptor) for descriptor in (segment.descriptor, *opened)}
    before = descriptors_of(files)
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
    kept = 2 if what == "another generation" else 0  # a segment that is good for a later use, and its mapping's own
    assert before - len(opened) + kept == descriptors_of(files), "a descriptor was left open"


def test_a_process_that_shares_no_memory_refuses_references(sink: Attachments) -> None:
    """An endpoint without attachments (the ventilator's, or memory switched off) drops such a message."""
    pool = filled_pool(sink)
    with pytest.raises(RemoteProtocolError, match="refused"):
        over_the_wire(*make_message(take(pool)), None)


def test_references_must_match_the_arrays(sink: Attachments) -> None:
    """One reference too few, or one together with a raw frame, is a malformed message and not a crash."""
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
    """Neither by its owner nor by another process that found it: reading it never ends in SIGBUS."""
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


def test_a_program_that_ends_with_samples_in_hand_ends_in_silence() -> None:
    """Although the interpreter clears our module before they go: here, as JAX makes it do, by keeping modules."""
    program = """
import codecs
from penstock.protocol.transport import segments

class Search:
    kept = codecs, segments
    def __call__(self, name):
        return None

codecs.register(Search())
codecs.loan = segments.Loan(segments.Segment.create(100), 0, releases=True)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (0, "") == (ended.returncode, ended.stderr)


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
    assert 0 == sink.count, "no process can refer to it any more"
    assert (9, 9) == (samples.min(), samples.max())
    del samples
    until(lambda: set(open_segments()) <= set(before), "the kernel to free the segment")


def open_segments() -> list[str]:
    """Return the segments that this process has open or mapped."""
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:penstock" in line]
    links = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return mapped + [link for link in links if "memfd:penstock" in link]
