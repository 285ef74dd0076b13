"""A file written from a stream trains as the stream does: the same batches, and the same losses to the last bit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.streams import Batch, digest, epochs, make_images, make_spec, make_stream, run_stack

from penstock.trainer import Hdf5Feed

pytestmark = [pytest.mark.integration, pytest.mark.long]

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "keras" / "same_training.py"
#: 49 of 50 images, two patches each, in batches of 16: the last batch of an epoch has 2 samples.
EPOCHS, BATCHES = 2, 7


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a spec file over 2 × 25 JPEG files, one of them damaged, and next to it `patches.h5` with two epochs."""
    folder = tmp_path_factory.mktemp("same")
    make_images(folder / "photos", each=25)
    (folder / "photos/cat/0003.jpg").write_bytes(b"no image")
    transform = {
        "patch": {"kind": "random", "height": 24, "width": 24},
        "manipulations": {"choices": [{"kind": "gamma", "value": 0.8}, {"kind": "jpeg", "value": 70}]},
        "augment": {"horizontal_flip": True, "rotation_range": 10.0},
    }
    stream = make_stream(transform=transform, patches=2, failure_budget=0.1)
    content = make_spec(folder / "photos", train=stream)
    (folder / "spec.json").write_text(json.dumps(content), encoding="utf-8")
    write = ["write", "spec.json", "-o", "patches.h5", "--epochs", str(EPOCHS), "--workers", "2"]
    command = [sys.executable, "-m", "penstock", *write]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert 0 == done.returncode, done.stderr
    return folder / "spec.json"


def test_the_batches_of_the_file_are_those_of_the_stream(spec: Path) -> None:
    """Byte for byte, an epoch's short last batch and the quarantined item included; the file also names the epochs."""
    with run_stack(json.loads(spec.read_text(encoding="utf-8")), workers=1) as stack:
        live = epochs(stack.feed("train"), EPOCHS)
    with Hdf5Feed(spec.parent / "patches.h5", recorded=True) as feed:
        stored: list[Batch] = [batch for _ in range(EPOCHS) for batch in feed]
    assert EPOCHS * BATCHES == len(live)
    named = [batch.pop("epoch") for batch in stored]
    assert [[epoch] * len(batch["label"]) for epoch in range(EPOCHS) for batch in live[:BATCHES]] == [
        array.tolist() for array in named
    ]
    assert digest(live) == digest(stored)
    assert 98 * EPOCHS == len(np.concatenate([batch["item"] for batch in stored]))


def test_a_network_learns_the_same_from_the_file_to_the_last_bit(spec: Path) -> None:
    """Two epochs of a seeded network on the processor, from workers and from the file: equal losses, equal weights.

    Equality is exact, not near: the batches are the same bytes, weights and dropout come from the same seed, and
    TensorFlow's deterministic operations add the same numbers in the same order every time on one machine.
    """
    command = [sys.executable, str(PROGRAM), str(spec), str(spec.parent / "patches.h5")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    live, stored = found["live"], found["stored"]
    assert EPOCHS * BATCHES == len(live["losses"])
    assert live == stored
    losses = [float.fromhex(loss) for loss in live["losses"]]
    assert len(set(losses)) == len(losses)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])  # it learns
