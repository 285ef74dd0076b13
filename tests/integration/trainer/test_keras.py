"""Checkpoints in Keras: a training process that is killed goes on with the very next batch, to the same weights."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.streams import make_images, make_spec, make_stream, until

from penstock.protocol.errors import SpecError
from penstock.trainer.client.feed import Feed

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "keras" / "training.py"
EPOCHS = 2
#: Longest that a training may take (s): TensorFlow alone needs a minute on a machine that is busy.
DEADLINE_S = 600.0
#: 60 images, 3 patches each, in batches of 16: the last batch of an epoch has 4 samples.
BATCHES = 12


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a spec file over 2 × 30 JPEG files."""
    folder = tmp_path_factory.mktemp("checkpoint")
    transform = {"patch": {"kind": "random", "height": 24, "width": 24}}
    content = make_spec(make_images(folder / "photos", each=30), train=make_stream(transform=transform))
    (folder / "spec.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "spec.json"


def start(spec: Path, folder: Path, steps_per_execution: int) -> subprocess.Popen[bytes]:
    """Start the training program; what it says goes to a file in `folder`."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(PROGRAM), str(spec), str(folder), str(EPOCHS), str(steps_per_execution)]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def finish(process: subprocess.Popen[bytes], folder: Path) -> tuple[list[str], str]:
    """Wait for the program; return the trained batches, as lines of items, and the digest of the weights."""
    assert 0 == process.wait(DEADLINE_S), (folder / "log").read_text(encoding="utf-8")
    return trained(folder), (folder / "weights").read_text(encoding="utf-8")


def trained(folder: Path) -> list[str]:
    """Return a line of items for each batch trained on so far."""
    path = folder / "trained"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def saved_batches(folder: Path, reference: list[str]) -> int:
    """Return how many batches the checkpoint holds, reckoned from its position alone."""
    state = folder / "checkpoint" / "state.json"
    if not state.exists():
        return 0
    left = json.loads(state.read_text(encoding="utf-8"))["feed"]["position"]
    for count, line in enumerate(reference):
        if left <= 0:
            return count
        left -= len(line.split())
    return len(reference)


@pytest.fixture(scope="module")
def undisturbed(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """Return the batches and weights of an undisturbed training."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return finish(start(spec, folder, 1), folder)


@pytest.mark.parametrize(
    ("moment", "steps"),
    [
        (BATCHES - 1, 1),
        (BATCHES + 8, 2),
        pytest.param(2, 1, marks=pytest.mark.long),
        pytest.param(5, 2, marks=pytest.mark.long),
    ],
)
def test_a_killed_training_goes_on_with_the_very_next_batch_to_the_same_weights(
    undisturbed: tuple[list[str], str], spec: Path, tmp_path: Path, moment: int, steps: int
) -> None:
    """Killed after `moment` batches, with `steps` in an execution: what follows the checkpoint is the continuation.

    And the last weights are bit for bit those of an undisturbed training.
    """
    reference, weights = undisturbed
    assert EPOCHS * BATCHES == len(reference)
    process = start(spec, tmp_path, steps)
    until(
        lambda: len(trained(tmp_path)) >= moment or process.poll() is not None, f"{moment} trained batches", DEADLINE_S
    )
    process.kill()
    process.wait(DEADLINE_S)
    before = trained(tmp_path)
    assert reference[: len(before)] == before
    saved = saved_batches(tmp_path, reference)
    assert saved <= len(before)
    everything, end = finish(start(spec, tmp_path, steps), tmp_path)
    assert reference[saved:] == everything[len(before) :]
    assert weights == end


def test_a_torn_checkpoint_is_never_loaded(spec: Path, tmp_path: Path, undisturbed: tuple[list[str], str]) -> None:
    """What a kill can leave at any moment of a save changes nothing.

    Half a model, a model without its state, a state half written: training begins anew, and they are cleared away.
    """
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "partial-model-00000001.keras").write_bytes(b"half a model")
    (checkpoint / "model-00000001.keras").write_bytes(b"a model whose state was never written")
    (checkpoint / "partial-state.json").write_text('{"model": "mod', encoding="utf-8")
    assert undisturbed == finish(start(spec, tmp_path, 1), tmp_path)
    assert ["model-00000011.keras", "state.json"] == sorted(file.name for file in checkpoint.iterdir())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "state.json").write_text("{", encoding="utf-8"), "not a checkpoint's state"),
        (lambda folder: (folder / "state.json").write_text('{"model": "m"}', encoding="utf-8"), "not a checkpoint's"),
        (lambda folder: (folder / "model-00000001.keras").unlink(), "which is not there"),
    ],
)
def test_a_damaged_checkpoint_is_an_error_in_words(
    tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    """Nothing is silently begun anew, and the message names the file and what to do."""
    from penstock.trainer.adapters.keras import Checkpoint  # noqa: PLC0415 - TensorFlow takes seconds

    (tmp_path / "model-00000001.keras").write_bytes(b"")
    state = {"model": "model-00000001.keras", "feed": {}, "epoch": 1, "began": None, "seeds": []}
    (tmp_path / "state.json").write_text(json.dumps(state), encoding="utf-8")
    damage(tmp_path)
    with pytest.raises(SpecError, match=words) as caught:
        Checkpoint.load(tmp_path)
    assert "remove the folder" in str(caught.value)


def test_an_empty_folder_is_no_checkpoint_and_bad_settings_are_refused(tmp_path: Path) -> None:
    """`load` returns None; `every_batches` below one names the value."""
    from penstock.trainer.adapters.keras import Checkpoint  # noqa: PLC0415

    assert Checkpoint.load(tmp_path) is None
    with pytest.raises(SpecError, match="every_batches = 0"):
        Checkpoint(Feed("ipc:///tmp/nowhere"), tmp_path, every_batches=0)
