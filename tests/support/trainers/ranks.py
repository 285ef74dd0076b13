"""A snippet of docs/trainers.md in two processes of torchrun, or of Composer's launcher, which are told no rank."""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
#: What starts two processes; Composer asks for NODE_RANK, which torchrun does not set.
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
COMPOSER = ("-m", "composer.cli", "--nproc=2")
PROGRAM = TESTS / "pytorch" / "programs" / "snippet_rank.py"


def two_ranks(name: str, address: str, folder: Path, cut: int) -> list[dict[str, list[float]]]:
    """Run a snippet in two processes; return what each of them saw, and its weights."""
    folder.mkdir(exist_ok=True)
    environ = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    environ |= {"ACCELERATE_USE_CPU": "true"}  # as `accelerate launch --cpu` says it
    launcher = COMPOSER if name == "composer" else TORCHRUN
    ran = subprocess.run(
        [sys.executable, *launcher, str(PROGRAM), name, address, str(folder), str(cut)],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 0 == ran.returncode, ran.stdout[-3000:] + ran.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
