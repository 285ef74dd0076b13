"""What the tiers with containers share: the stream that they read, and how they skip what cannot be tested."""

import shutil
import subprocess
from collections.abc import Sequence

import pytest

SPEC = """
seed = 11

[streams.train]
source = { kind = "directory", root = "images" }
patches = 3
mix = 8
task_items = 4
batch_size = 16
window_mb = 0.1

[streams.train.transform]
patch = { kind = "random", height = 32, width = 40 }
augment = { horizontal_flip = true }
"""


def need(where: str, *commands: Sequence[str]) -> None:
    """Skip, loudly, unless each of these commands is here and succeeds; `where` is what cannot be tested else."""
    for command in commands:
        if shutil.which(command[0]) is None:
            pytest.skip(f"NOT TESTED {where}: there is no {command[0]} command")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            pytest.skip(f"NOT TESTED {where}: `{' '.join(command)}` says: {done.stderr.strip()[:200]}")
