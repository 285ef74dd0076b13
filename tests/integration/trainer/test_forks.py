"""Programs that fork: what a parent holds is neither stopped, closed nor removed by a child, however that ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.feed_folders import write_feed_folder

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "forking.py"
#: Keras without TensorFlow, which takes 9 s of processor time to import and to leave.
ENVIRONMENT = {**os.environ, "KERAS_BACKEND": "numpy"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a spec over 2 × 10 images, and an HDF5 file of 12 rows."""
    return write_feed_folder(tmp_path_factory.mktemp("forks"), rows=12)


@pytest.mark.parametrize("scenario", ["stack", "forgotten", "iterator", "metrics", "file", "locked"])
def test_a_child_leaves_what_is_its_parents(folder: Path, scenario: str) -> None:
    """The scenarios of `support/forking.py`: each asserts that its parent goes on, and no process prints an error."""
    quiet = "ignore::DeprecationWarning"  # Python 3.12 warns of forks in programs with threads
    command = [sys.executable, "-W", quiet, str(PROGRAM), scenario, str(folder)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert ("fine\n", "") == (done.stdout, done.stderr)
