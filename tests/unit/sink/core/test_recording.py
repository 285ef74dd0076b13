"""What is written and committed when, with trainers and on disks that are slow or full."""

import numpy as np
import pytest
from support.cores.recording_harness import INTERVALS, CoreHarness, Disk, check, chunk_tinily
from support.plans import LEASE_KEY, make_plan

from penstock.protocol.instructions import Note
from penstock.protocol.messages import (
    Goodbye,
    SinkWelcome,
)
from penstock.sink.core.assembly import VENTILATOR
from penstock.sink.core.recording import Pace, Recording
from penstock.sink.core.writer_jobs import (
    Commit,
    DiskFull,
    RowsJob,
)
from penstock.sink.output.layout import OutputConfig


@pytest.fixture(autouse=True)
def tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let four samples of these tests make a chunk of their images."""
    chunk_tinily(monkeypatch)


def test_a_trainer_waits_until_the_output_is_open() -> None:
    """Nothing is made for it before: with a head start it would have results made for it alone."""
    harness = CoreHarness(make_plan(items=28), Disk(), wait_for=1)
    harness.subscribe(b"t")
    assert [] == harness.missing()
    assert {} == harness.core.streams.readers
    assert harness.work(), "the disk says where the output stands"
    assert [b"t"] == list(harness.core.streams.readers)
    harness.finish(frozenset(), np.random.default_rng(1))
    assert {1} == set(harness.made.values())


def test_a_trainer_beside_the_writer_costs_no_work() -> None:
    """Both read from the start: no result is made twice, however slow either is; both get everything."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        plan = make_plan(items=60, mix=4, window_samples=1)
        harness = CoreHarness(plan, Disk(), wait_for=1)
        harness.work()
        harness.subscribe(b"t")
        harness.tick()
        harness.finish(frozenset({3, 17}), rng)
        for _ in range(100):
            harness.consume(b"t")
        assert {1} == set(harness.made.values())
        check(harness, 2, frozenset({3, 17}))


def test_neither_runs_ahead_of_the_other_by_more_than_the_window() -> None:
    """A disk that stands still stops the trainer, and a trainer that does the writer; one that leaves does not."""
    plan = make_plan(items=400, task_items=4, window_samples=1)
    harness = CoreHarness(plan, Disk(), epochs=1, wait_for=1)
    harness.work()
    harness.subscribe(b"t", limit=1000)
    harness.tick()
    recorder = harness.recording.recorder
    assert recorder is not None
    for _ in range(200):  # no disk
        harness.consume(b"t")
        for task in harness.missing():
            harness.result(task)
    reader = harness.core.streams.readers[b"t"]
    assert 0 < reader.cursor <= recorder.cursor + recorder.window
    assert not harness.missing(), "nothing may be made without a reader"
    assert recorder.in_flight <= recorder.window
    stood = recorder.cursor
    for _ in range(200):  # no trainer
        while harness.work() or harness.answer():
            pass
        for task in harness.missing():
            harness.result(task)
    assert stood < recorder.cursor <= reader.cursor + reader.window
    harness.take(harness.core.receive(b"t", Goodbye(), (), harness.now))
    harness.finish(frozenset(), np.random.default_rng(0))
    check(harness, 1, frozenset())


def test_a_trainer_far_away_goes_its_own_way() -> None:
    """It does not hold the writer up, nor is it held up; once near, they share."""
    plan = make_plan(items=400, task_items=4, window_samples=1)
    harness = CoreHarness(plan, Disk(), epochs=1)
    harness.work()
    harness.subscribe(b"t", position=200)
    assert [] == harness.core.streams.readers[b"t"].paced_with
    while harness.recording.recorder is not None and harness.recording.recorder.cursor < 190:
        while harness.work() or harness.answer():
            pass
        for task in harness.missing():
            harness.result(task)
        harness.tick(0.1)
    assert [harness.recording.recorder] == harness.core.streams.readers[b"t"].paced_with
    harness.finish(frozenset(), np.random.default_rng(0))
    assert [] == harness.core.streams.readers[b"t"].paced_with
    check(harness, 1, frozenset())


def test_what_waits_too_long_is_committed() -> None:
    """A slow stream is safe every few seconds, in whole chunks."""
    plan = make_plan(items=400)
    harness = CoreHarness(plan, Disk(), piece_bytes=10**9, piece_s=5.0)
    harness.work()
    harness.result(0)
    harness.result(1)
    harness.tick(4.0)
    assert not any(isinstance(job, Commit) for job in harness.jobs)
    harness.tick(1.5)
    assert [RowsJob, RowsJob, Commit] == [type(job) for job in harness.jobs]
    harness.result(2)
    harness.tick(1.0)
    assert 1 == sum(isinstance(job, Commit) for job in harness.jobs)


def test_pieces_grow_with_their_number() -> None:
    """A terabyte is no million files."""
    pace = Pace(64_000_000, 10.0)
    assert (64_000_000, 10.0) == pace.limits(63)
    assert (128_000_000, 20.0) == pace.limits(64)
    total = pieces = 0
    while total < 10**12:
        total, pieces = total + pace.limits(pieces)[0], pieces + 1
    assert pieces < 700


def test_a_slow_disk_is_said_to_hold_the_stream_up() -> None:
    """Once in the log, and in what /healthz shows, until it keeps up again."""
    harness = CoreHarness(make_plan(items=400, window_samples=64), Disk(), epochs=1)
    harness.work()
    for _ in range(30):
        for task in harness.missing():
            harness.result(task)
    for _ in range(4):
        harness.tick(1.0)
    assert 1 == sum(note.event == "held up by writer" for note in harness.notes)
    assert harness.recording.status()["held_up_by_writer"]
    while harness.work() or harness.answer():
        pass
    harness.tick(0.1)
    assert not harness.recording.status()["held_up_by_writer"]


def test_a_window_holds_several_jobs_however_small_it_is() -> None:
    """The disk is never idle while the samples after its last job are made, and one job done is not a disk in step."""
    harness = CoreHarness(make_plan(items=400, window_samples=64), Disk(), epochs=1, piece_bytes=10**9)
    harness.work()
    harness.tick()
    for task in harness.missing()[::-1]:  # nothing is complete before the last
        harness.result(task)
    jobs = [job for job in harness.jobs if isinstance(job, RowsJob)]
    assert 4 <= len(jobs)
    recorder = harness.recording.recorder
    assert recorder is not None
    assert max(job.count for job in jobs) <= recorder.window // 4


def test_a_full_disk_is_said_while_it_lasts() -> None:
    """The thread waits; the log and /healthz say for what."""
    harness = CoreHarness(make_plan(), Disk())
    harness.work()
    harness.take(harness.core.wrote(DiskFull("out.h5: No space left on device"), 0.0))
    assert ("out.h5: No space left on device", True) == (
        harness.recording.status()["why"],
        harness.recording.status()["held_up_by_writer"],
    )
    harness.take(harness.core.wrote(DiskFull(""), 0.0))
    assert ["disk full", "disk has space again"] == [note.event for note in harness.notes if "disk" in note.event]
    assert not harness.recording.status()["why"]


def test_a_stream_that_its_budget_stops_is_committed_and_no_more() -> None:
    """What was made is kept; the sink goes on for others."""
    plan = make_plan(items=40, failure_budget=0.0)
    harness = CoreHarness(plan, Disk(), piece_bytes=10**9)
    harness.work()
    harness.result(0)
    harness.result(1, frozenset(range(40)))
    assert not harness.recording.why
    harness.result(1, frozenset(range(40)))  # by a second worker
    assert "stopped" == harness.recording.state
    assert "failure_budget = 0.0" in harness.recording.why
    assert [RowsJob, Commit] == [type(job) for job in harness.jobs]
    assert [] == harness.failed
    assert [] == harness.missing()


def test_the_budget_holds_over_restarts() -> None:
    """What failed in earlier runs counts: a run that is only repeated stops again, at once and for the same reason."""
    plan, disk, bad = make_plan(items=40, failure_budget=0.1), Disk(), frozenset(range(0, 40, 5))
    for run in range(3):
        harness = CoreHarness(plan, disk, epochs=1, piece_bytes=10**9)
        while harness.work() or (harness.recording.state == "writing" and harness.missing()):
            for ordinal in harness.missing()[:1]:
                harness.result(ordinal, bad)
        assert "stopped" == harness.recording.state, f"run {run}"
        assert "5 of 40 items failed in epoch 0" in harness.recording.why
        assert len(disk.lost) <= 5
    cured = plan.model_copy(update={"settings": plan.settings.model_copy(update={"failure_budget": 0.5})})
    harness = CoreHarness(cured, disk, epochs=1)
    harness.finish(bad, np.random.default_rng(1))
    assert sorted(bad) == sorted(lost.failure.item for lost in disk.lost)


def test_another_spec_stops_the_writing_and_other_batches_do_not() -> None:
    """Positions of one fingerprint hold whatever the batches and windows are."""
    plan = make_plan(items=40)
    disk = Disk()
    harness = CoreHarness(plan, disk, epochs=1)
    harness.work()
    harness.result(0)
    other = make_plan(items=40, batch_size=5, window_samples=100, task_items=8)
    harness.plan = other
    harness.take(
        harness.core.receive(VENTILATOR, SinkWelcome(streams=(other,), intervals=INTERVALS, leases=LEASE_KEY), (), 0.0)
    )
    harness.finish(frozenset(), np.random.default_rng(1))
    check(harness, 1, frozenset())
    again = CoreHarness(plan, Disk())
    again.work()
    foreign = make_plan(items=40, fingerprint="g")
    again.take(
        again.core.receive(VENTILATOR, SinkWelcome(streams=(foreign,), intervals=INTERVALS, leases=LEASE_KEY), (), 0.0)
    )
    assert ("stopped", True) == (again.recording.state, "its fingerprint is g now" in again.recording.why)


def test_a_finished_file_needs_nothing() -> None:
    """A run that finds it finished makes nothing."""
    harness = CoreHarness(make_plan(), Disk(finished=True))
    harness.work()
    assert "finished" == harness.recording.state
    assert [] == harness.missing()


def test_a_stream_that_is_not_there_is_named() -> None:
    """The sink goes on for its trainers."""
    harness = CoreHarness(make_plan("validation"), Disk())
    recording = Recording(OutputConfig("out.h5", "train", 1, "none", None), Pace(1, 1.0), 0)
    [note] = recording.welcome({"validation": harness.plan})
    assert isinstance(note, Note)
    assert "no stream 'train' here; there are: validation" == note.fields["why"]
