"""Feeds and iterators without a reference: the collector closes them on any thread, their own included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.feed_folders import write_feed_folder

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "collecting.py"
#: Without the greetings of TensorFlow, which comes with Keras, and of oneDNN, which speaks on some processors only.
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a spec over 2 × 10 images, and an HDF5 file of 64 rows."""
    return write_feed_folder(tmp_path_factory.mktemp("collected"), rows=64)


@pytest.mark.parametrize(
    "scenario", ["feed", "file", "ahead", "pulling", "peeking", pytest.param("iterator", marks=pytest.mark.slow)]
)
def test_what_is_dropped_is_closed_without_a_word(folder: Path, scenario: str) -> None:
    """The scenarios of `support/collecting.py`: threads and processes end, and no finaliser prints an error."""
    command = [sys.executable, str(PROGRAM), scenario, str(folder)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=200, check=False)
    assert ("fine\n", "") == (done.stdout, done.stderr)
