"""The verdict of running stacks: each situation is made for real, and the ventilator must say so within seconds.

Nothing here measures a machine: what limits each stack waits on something (a transform that sleeps, a line that holds
few bytes, a process that is stopped), many times as long as computing takes, so that the word is the same on a busy
machine as on an idle one.
"""

import os
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.images import encode, picture
from support.situations import Drowsy, Line, Sloth, Trainer, write_transforms
from support.streams import make_images, make_spec, make_stream, run_stack, until
from support.web import serve

from penstock.launcher.stack import Addresses, LocalStack
from penstock.protocol.snapshot import Verdict

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.long]

#: Longest (s) that a verdict may take: its window, the seconds that it is held, and what a busy machine adds.
SOON_S = 90.0
#: Seconds after which a verdict rests on nothing that was before it: more than its window.
SETTLED_S = 10.0
#: No peer is lost, and nothing made again, because a process was slow: the slow one is what the verdict is about.
PATIENT = {"silence_s": 30.0}
#: Samples of a batch and of a task; a stream's window holds some of both.
BATCH, TASK = 8, 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 2 × 60 JPEG files."""
    return make_images(tmp_path_factory.mktemp("photos"), each=60)


@pytest.fixture(autouse=True)
def _transforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(write_transforms(tmp_path / "packages")))


def spec_of(photos: Path, *custom: dict[str, Any], **stream: Any) -> dict[str, Any]:
    """Return a spec of one patch an image."""
    transform = {"patch": {"kind": "center", "height": 32, "width": 40}, "custom": list(custom)}
    settings = {"patches": 1, "mix": 1, "task_items": TASK, "batch_size": BATCH, "window_mb": 0.3}
    return make_spec(photos, train=make_stream(transform=transform, **settings | stream))


def hear(stack: LocalStack, word: str, cause: str = "") -> Verdict:
    """Wait until the stack's verdict is that; return it. What was said instead stands in the error."""
    said: dict[str, None] = {}

    def heard() -> Verdict | None:
        verdict = stack.snapshot().verdict
        said[verdict.sentence] = None
        return verdict if (word, cause) == (verdict.word, verdict.cause) else None

    try:
        return until(heard, f"{word} {cause}", SOON_S)  # type: ignore[return-value]
    except AssertionError as error:
        raise AssertionError(f"{error}; it said: {list(said)[-8:]}") from None


def settled(verdict: Verdict) -> Verdict | None:
    """Return a verdict once it has been the same for some time: its numbers are of this situation only then."""
    return verdict if verdict.for_s > SETTLED_S else None


@contextmanager
def trained(stack: LocalStack, step_s: float = 0.0) -> Generator[Trainer]:
    """Train on a stack's stream while the block lasts."""
    with stack, Trainer(stack.feed(), step_s) as trainer:
        yield trainer


def test_the_number_of_missing_workers_keeps_the_trainer_fed(photos: Path) -> None:
    """A worker makes 10 samples a second, the trainer could take 38; with as many more as it says, it is kept fed.

    And without any worker, everything stands still for that. Of such workers 3.4 are enough: four have room to spare,
    and a busy machine may make this or that a tenth slower.
    """
    stack = run_stack(spec_of(photos, {"name": "dawdle", "parameters": {"seconds": 0.1}}), workers=1)
    with trained(stack, step_s=BATCH / 38):
        hear(stack, "worker-bound")
        said = until(lambda: settled(stack.snapshot().verdict), "a verdict that stays")
        assert said is not None
        assert "worker-bound" == said.word
        assert said.wait_fraction is not None
        assert 0.5 < said.wait_fraction < 0.9
        assert said.more_workers in (2, 3, 4)
        stack.scale(1 + said.more_workers)

        def fed() -> bool:
            verdict = hear(stack, "trainer-bound")
            return verdict.wait_fraction is not None and verdict.wait_fraction < 0.125

        until(fed, "a trainer that is kept fed")
        stack.scale(0)
        assert "no worker is here" in hear(stack, "stalled", "no worker").sentence


def test_slow_files_are_told_from_slow_workers(photos: Path) -> None:
    """Each file takes 0.3 s to come, and decoding it next to nothing."""
    with serve(photos, latency_s=0.3) as web:
        stack = run_stack(spec_of(photos) | {"roots": {"photos": web.url}}, workers=1)
        with trained(stack):
            assert "waiting for files" in hear(stack, "read-bound").sentence


def test_a_folder_of_damaged_files_starves_the_trainer(tmp_path: Path) -> None:
    """Nine of ten files are quarantined; the ledger's newest lines stand in the snapshot, counted by kind."""
    folder = make_images(tmp_path / "photos", each=10, classes=("cat",))
    for number in range(10, 100):
        (folder / "cat" / f"{number:04}.jpg").write_bytes(encode(picture(number, 0, 64, 64))[:200])
    slow = {"name": "dawdle", "parameters": {"seconds": 0.02}}
    with trained(stack := run_stack(spec_of(folder, slow, failure_budget=1.0), workers=1)):
        assert "% of the items worked on were quarantined" in hear(stack, "quarantine-bound").sentence
        until(lambda: len(stack.snapshot().ledger) >= 90, "all damaged files in the ledger")
        snapshot = stack.snapshot()
        assert {"decode"} == {line.kind for line in snapshot.ledger}
        assert snapshot.sink is not None
        assert snapshot.sink.quarantined >= len(snapshot.ledger)


def test_a_sink_that_cannot_keep_up_is_named(photos: Path) -> None:
    """It runs for a tenth of the time, as on a host that does other things.

    Its window is small, so that even a slow worker has filled it long before the sink runs again.
    """
    stack = run_stack(
        spec_of(photos, window_mb=0.1),
        workers=1,
        ventilator=PATIENT | {"confirm_s": 30.0},
        sink=PATIENT,
        worker=PATIENT,
    )
    with trained(stack) as trainer:
        until(lambda: trainer.feed.stats.batches > 10, "the stream to flow")
        with Drowsy(stack.children["sink"].process.pid):
            hear(stack, "sink-bound")


def test_a_thin_line_between_workers_and_sink_is_named(photos: Path) -> None:
    """All results travel over a line that holds 100 kB/s, of 15 kB each."""
    with tempfile.TemporaryDirectory(prefix="pk-") as folder:
        addresses = Addresses.in_folder(Path(folder))
        with Line(addresses.results.removeprefix("ipc://"), bytes_per_s=100_000) as line:
            stack = run_stack(
                spec_of(photos),
                workers=1,
                addresses=addresses,
                ventilator={"confirm_s": 30.0},  # what waits in the line is not lost
                sink={"advertise": f"tcp://127.0.0.1:{line.port}", "shared_memory": False},
                worker={"shared_memory": False},
            )
            with trained(stack):
                assert "the network" in hear(stack, "sink-bound").sentence


def test_a_file_that_does_not_keep_up_is_named(tmp_path: Path) -> None:
    """The trainers' samples are also recorded, compressed as hard as can be, which takes far longer than making it."""
    photos = make_images(tmp_path / "photos", each=20, size=256)
    transform = {"patch": {"kind": "random", "height": 224, "width": 224}}
    stream = make_stream(transform=transform, patches=4, mix=1, task_items=4, batch_size=BATCH, window_mb=6.0)
    recorded = {"writer": "hdf5", "output": tmp_path / "all.h5", "epochs": 1000, "compression": "gzip:9"}
    stack = run_stack(make_spec(photos, train=stream), workers=1, sink=recorded | {"wait_for_trainers": 1})
    with trained(stack):
        assert "less compression" in hear(stack, "writer-bound").sentence
        [writer] = stack.snapshot().writers
        assert ("train", "writing") == (writer.stream, writer.state)
        assert writer.blocked_s > 0


def test_a_task_that_never_ends_is_named_with_its_worker(photos: Path) -> None:
    """All wait for it: the sentence says which worker works on what, and for how long."""
    with trained(stack := run_stack(spec_of(photos, {"name": "hang", "parameters": {"item": 17}}), workers=1)):
        said = hear(stack, "stalled", "hanging task").sentence
        assert f"/{stack.children['worker-0'].process.pid} has been working on task" in said
        assert "of stream 'train'" in said


def test_more_workers_than_the_window_has_tasks_for_are_told_of_the_window(photos: Path) -> None:
    """A window of six tasks and eight workers: a ninth would find nothing to do. With a larger one, it would."""
    slow = {"name": "dawdle", "parameters": {"seconds": 0.1}}
    with trained(stack := run_stack(spec_of(photos, slow, window_mb=0.02), workers=8)):
        said = hear(stack, "window-bound")
        assert "larger window_mb" in said.sentence
        assert 0 == said.more_workers
    with trained(stack := run_stack(spec_of(photos, slow), workers=8)):

        def leaves_room_for_some() -> bool:
            """Return whether it says so of all eight, some of which may have come late."""
            hear(stack, "worker-bound")
            seen = stack.snapshot()
            [stream] = seen.streams
            some = stream.sink is not None and 0 < seen.verdict.more_workers <= stream.sink.window // TASK - 8
            return some and (8, "worker-bound") == (len(seen.workers), seen.verdict.word)

        until(leaves_room_for_some, "as many more as the window has tasks for")


def test_a_stack_that_stands_still_for_no_known_reason_says_so(photos: Path) -> None:
    """Its only worker takes tasks and does nothing: it lives, nothing hangs, no worker is cut off, so no cause is true.

    A real worker joins it, and the stack goes on.
    """
    with trained(stack := run_stack(spec_of(photos), workers=0)) as trainer, Sloth(stack.addresses.ventilator):
        assert "see the workers' logs" in hear(stack, "stalled", "no progress").sentence
        stack.scale(1)
        until(lambda: trainer.feed.stats.batches > 10, "the stream to flow")
        until(lambda: "stalled" != stack.snapshot().verdict.word, "another word")


def test_a_stack_that_lacks_a_part_says_which(photos: Path) -> None:
    """Idle without a trainer; then no sink, while that is stopped; then it goes on as before."""
    with run_stack(spec_of(photos), workers=1) as stack:
        hear(stack, "idle")
        sink = stack.children["sink"].process.pid
        with Trainer(stack.feed(), step_s=0.25):
            hear(stack, "trainer-bound")
            os.kill(sink, signal.SIGSTOP)
            try:
                hear(stack, "stalled", "no sink")
            finally:
                os.kill(sink, signal.SIGCONT)
            hear(stack, "trainer-bound")
        hear(stack, "idle")


def test_a_stream_that_stopped_says_why(tmp_path: Path) -> None:
    """More items failed than the budget allows: no trainer is served any more."""
    folder = make_images(tmp_path / "photos", each=20, classes=("cat",))
    for number in range(8):
        (folder / "cat" / f"{number:04}.jpg").write_bytes(b"no image")
    with trained(stack := run_stack(spec_of(folder, failure_budget=0.1), workers=1)) as trainer:
        said = hear(stack, "stalled", "stopped stream").sentence
        assert "failure_budget = 0.1" in said
        until(lambda: trainer.error, "the trainer to be told so too")
