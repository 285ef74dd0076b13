"""Any part is killed at any moment: the trainer gets the same bytes as without, once and in order."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from support.streams import Batch, digest, epochs, make_images, make_spec, run_stack, take, until

import penstock
from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import RefusedError

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

PARTS = ("ventilator", "sink", "worker-0", "worker-1")
#: A training process: appends each batch's digest and the position after it, then goes on; resumes where the file ends.
TRAINER = """
import json, pathlib, sys
import penstock
from support.streams import digest
address, log = sys.argv[1], pathlib.Path(sys.argv[2])
lines = log.read_text().splitlines() if log.exists() else []
feed = penstock.connect(address)
if lines:
    feed.load_state_dict(json.loads(lines[-1])["state"])
with log.open("a") as file:
    while True:
        for batch in feed:
            print(json.dumps({"digest": digest([batch]), "state": feed.state_dict()}), file=file, flush=True)
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return a spec over 2 × 120 JPEG files, whose small window keeps the whole pipeline needed to the end."""
    return make_spec(make_images(tmp_path_factory.mktemp("photos"), each=120))


@pytest.fixture(scope="module")
def reference(spec: dict[str, object]) -> list[Batch]:
    """Return two epochs that nothing disturbed."""
    with run_stack(spec, workers=3) as stack:
        return epochs(stack.feed(), 2)


def kill(stack: LocalStack, part: str) -> None:
    """Kill a part as the kernel would."""
    stack.children[part].process.kill()


def restarted(stack: LocalStack, part: str, times: int = 1) -> None:
    """Wait until a part that was killed so often runs again: what follows happens to its successor."""
    child = stack.children[part]
    until(lambda: child.restarts >= times and child.process.poll() is None, f"{part} to run again")


@pytest.mark.parametrize("part", ["ventilator", "sink", "worker-0"])
def test_killing_one_part_mid_epoch_changes_no_byte(part: str, spec: dict[str, object], reference: list[Batch]) -> None:
    """Each part alone, twice an epoch."""
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed()
        got = take(feed, 9)
        kill(stack, part)
        got += take(feed, 20)
        restarted(stack, part)
        kill(stack, part)
        got += take(feed, len(reference) - 29)
        assert stack.children[part].restarts >= 1
    assert digest(reference) == digest(got)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_killing_all_parts_in_turn_changes_no_byte(seed: int, spec: dict[str, object], reference: list[Batch]) -> None:
    """At random batches of two epochs, every part at least once, some in the same moment."""
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(1, len(reference) - 2), 6))
    victims = rng.sample(PARTS, 4) + rng.choices(PARTS, k=2)
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed()
        got: list[Batch] = []
        kills: Counter[str] = Counter()
        for moment, part in zip(moments, victims, strict=True):
            got += take(feed, moment - len(got))
            restarted(stack, part, kills[part])
            kill(stack, part)
            kills[part] += 1
        got += take(feed, len(reference) - len(got))
        for part, times in kills.items():
            restarted(stack, part, times)
    assert digest(reference) == digest(got)


@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.long)])
def test_a_killer_that_knows_no_batches_changes_no_byte(
    seed: int, spec: dict[str, object], reference: list[Batch]
) -> None:
    """Kills at random times, whatever is going on, while two epochs are read over and over."""
    rng = random.Random(seed)
    done = threading.Event()
    kills: list[str] = []

    with run_stack(spec, workers=3) as stack:

        def kill_now_and_then() -> None:
            while len(kills) < 8 and not done.wait(rng.uniform(0.1, 1.2)):
                kills.append(rng.choice(PARTS))
                kill(stack, kills[-1])

        killer = threading.Thread(target=kill_now_and_then)
        killer.start()
        try:
            feed = stack.feed()
            rounds = 0
            while rounds < 1 or killer.is_alive():
                feed.seek(0)
                assert digest(reference) == digest(epochs(feed, 2)), f"round {rounds} after killing {kills}"
                rounds += 1
        finally:
            done.set()
            killer.join()
    assert 8 == len(kills)


def test_a_killed_trainer_resumes_from_its_saved_state(
    spec: dict[str, object], reference: list[Batch], tmp_path: Path
) -> None:
    """Its process is killed three times; what it logged is every batch once, in order."""
    log = tmp_path / "trained.jsonl"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    wanted = [digest([batch]) for batch in reference]

    def lines() -> list[str]:
        return (
            [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")] if log.exists() else []
        )

    def logged(count: int, trainer: "subprocess.Popen[bytes]") -> bool:
        return trainer.poll() is not None or len(lines()) >= count

    with run_stack(spec, workers=2) as stack:
        for count in (17, 44, 70, len(reference)):
            trainer = subprocess.Popen(
                [sys.executable, "-c", TRAINER, stack.address, str(log)], env=environment, cwd=tmp_path
            )
            try:
                until(partial(logged, count, trainer), f"batch {count}")
                assert trainer.poll() is None
            finally:
                trainer.kill()
                trainer.wait()
            log.write_text(
                "".join(lines()), encoding="utf-8"
            )  # a torn last line is what a checkpoint's rename prevents
    assert wanted == [json.loads(line)["digest"] for line in lines()[: len(reference)]]


def test_a_restarted_ventilator_with_another_spec_is_refused_in_words(spec: dict[str, object], tmp_path: Path) -> None:
    """The trainer's position means nothing there: it is told so, and what to do."""
    with run_stack(spec, workers=1, run_dir=tmp_path / "run") as stack:
        feed = stack.feed(prefetch=2)  # else it may have all it will ask for before the ventilator dies
        take(feed, 3)
        other = stack.spec.model_copy(update={"seed": 12})
        (stack.run_dir / "spec.json").write_text(other.model_dump_json(), encoding="utf-8")
        kill(stack, "ventilator")
        with pytest.raises(
            RefusedError, match=r"'train': the position belongs to fingerprint .* start from position 0"
        ):
            epochs(feed, 3)
        assert 3 == len(take(stack.feed(), 3)), "a trainer that starts anew is served"


def test_a_drained_worker_loses_nothing(spec: dict[str, object], reference: list[Batch], tmp_path: Path) -> None:
    """SIGTERM mid-epoch: it finishes what it runs, gives back the rest, says goodbye and leaves with status 0."""
    patient = {"silence_s": 60.0}  # a worker that gets no processor for a while is not silent
    with run_stack(spec, workers=2, run_dir=tmp_path / "run", ventilator=patient) as stack:
        feed = stack.feed()
        got = take(feed, 10)
        until(lambda: stack.status()["worker-0"].get("ready"), "the worker to have joined")
        worker = stack.children["worker-0"].process
        worker.send_signal(signal.SIGTERM)
        got += take(feed, len(reference) - 10)
        assert 0 == worker.wait(60)
    assert digest(reference) == digest(got)
    assert "draining" in (tmp_path / "run" / "worker-0.log").read_text()
    said = (tmp_path / "run" / "ventilator.log").read_text()
    assert "worker left" in said
    assert "worker silent" not in said


def test_connect_joins_a_stack_that_is_not_there_yet(
    spec: dict[str, object], reference: list[Batch], tmp_path: Path
) -> None:
    """Start order does not matter: a trainer may wait for its sink."""
    run_dir = tmp_path / "run"
    with penstock.connect(f"ipc://{run_dir}/trainers.sock") as feed:
        got: list[Batch] = []
        reader = threading.Thread(target=lambda: got.extend(take(feed, 5)))
        reader.start()
        with run_stack(spec, workers=1, run_dir=run_dir):
            reader.join(60)
    assert digest(reference[:5]) == digest(got)
