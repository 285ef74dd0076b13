"""Programs that fork: what a parent holds is neither stopped, closed nor removed by a child, however that ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.streams import make_images, make_spec, make_stream

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "forking.py"
#: Without TensorFlow's greeting, which comes with Keras.
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a spec over 2 × 10 images, and an HDF5 file of 12 rows."""
    folder = tmp_path_factory.mktemp("forks")
    stream = make_stream(transform={"resize": {"height": 16, "width": 16}}, patches=1, mix=1, batch_size=4)
    spec = make_spec(make_images(folder / "photos", each=10), train=stream)
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    with h5py.File(folder / "rows.h5", "w") as file:
        file["image"] = np.ones((12, 8, 8, 3), np.uint8)
        file["label"] = np.arange(12, dtype=np.int32)
    return folder


@pytest.mark.parametrize("scenario", ["stack", "forgotten", "iterator", "metrics", "file", "locked"])
def test_a_child_leaves_what_is_its_parents(folder: Path, scenario: str) -> None:
    """The scenarios of `support/forking.py`: each asserts that its parent goes on, and no process prints an error."""
    quiet = "ignore::DeprecationWarning"  # Python 3.12 warns of forks in programs with threads
    command = [sys.executable, "-W", quiet, str(PROGRAM), scenario, str(folder)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert ("fine\n", "") == (done.stdout, done.stderr)
