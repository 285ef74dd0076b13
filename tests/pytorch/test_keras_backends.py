"""feed.keras() on Keras's PyTorch and JAX backends: whole epochs, and checkpoints that resume in mid-epoch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from penstock.launcher.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.torch]

PROGRAM = Path(__file__).parent / "programs" / "keras_training.py"


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_keras_trains_on_each_batch_once_and_resumes_with_the_next(
    stack: LocalStack, tmp_path: Path, backend: str
) -> None:
    """Also on the batch that Keras takes first to learn shapes; cut off, the weights become those of a whole run."""
    environ = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), stack.address, str(tmp_path)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 0 == ran.returncode, ran.stderr[-3000:]
    whole, cut, resumed = json.loads((tmp_path / "done.json").read_text(encoding="utf-8"))
    assert [15, 15, 15] == whole["steps"]
    assert 3 * 120 == whole["position"] == resumed["position"]
    assert [15, 7] == cut["steps"]
    assert (15 + 4, [11, 15]) == (resumed["began"] // 8, resumed["steps"])  # after 4 batches of the second epoch
    for expected, got in zip(whole["weights"], resumed["weights"], strict=True):
        assert np.allclose(expected, got, rtol=0, atol=1e-6)
        assert np.any(np.abs(expected) > 1e-3)
