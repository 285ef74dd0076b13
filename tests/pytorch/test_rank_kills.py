"""A DDP training under torchrun whose ranks, workers and sink are killed at random: each sample once an epoch."""

import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.streams import is_alive, make_spec, make_stream, run_stack, until

from penstock.launcher.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.torch]

PROGRAM = Path(__file__).parent / "programs" / "kept_training.py"
#: What is killed, each as often as another.
KINDS = ("rank", "worker", "sink")
#: Longest that the training may go without a further step (s): torchrun notices a death and starts new ranks, which
#: import PyTorch, join each other and subscribe, while the machine may be busy.
PATIENCE_S = 120.0


class Job:
    """The training, and what it has kept so far."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        """Start it."""
        (folder / "steps").mkdir()
        self.stack, self.folder = stack, folder
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1000"]
        environ = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
        # Else torchrun 2.13 keeps one store for all restarts, where new ranks find the addresses of dead ones: gloo
        # then tries these in vain, or waits for ever.
        environ |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
        with (folder / "log").open("w") as log:
            self.torchrun = subprocess.Popen(
                [sys.executable, *command, "--monitor-interval=0.1", str(PROGRAM), stack.address, str(folder)],
                env=environ,
                stdout=log,
                stderr=log,
            )

    def position(self) -> int:
        """Return the position of the last checkpoint; raise AssertionError if the training ended by itself."""
        assert self.torchrun.poll() is None, (self.folder / "log").read_text()[-3000:]
        file = self.folder / "position"
        return int(file.read_text()) if file.exists() else 0

    def goes_on(self) -> None:
        """Wait for a step that is kept from now on."""
        now = self.position()
        until(lambda: self.position() > now, f"a step after position {now}", PATIENCE_S)

    def kill(self, kind: str, rng: random.Random) -> bool:
        """Kill a rank, a worker or the sink, as the kernel would; return whether one ran."""
        if kind == "rank":
            ranks = [each for each in psutil.Process(self.torchrun.pid).children() if is_alive(each)]
            if not ranks:
                return False
            with suppress(psutil.NoSuchProcess):
                rng.choice(ranks).kill()
            return True
        child = self.stack.children["sink" if kind == "sink" else rng.choice(("worker-0", "worker-1"))]
        ran = child.process.poll() is None
        child.process.kill()
        return ran

    def end(self) -> int:
        """Let the training end with its epoch; return the position that it has kept."""
        (self.folder / "enough").touch()
        assert 0 == self.torchrun.wait(PATIENCE_S), (self.folder / "log").read_text()[-3000:]
        return int((self.folder / "position").read_text())

    def close(self) -> None:
        """Kill torchrun and its ranks, if they still run."""
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.torchrun.pid)
            for process in (parent, *parent.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.torchrun.wait(60)


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.long)])
def test_killed_ranks_workers_and_sinks_lose_and_repeat_nothing(photos: Path, tmp_path: Path, kills: int) -> None:
    """What training kept, by position, is each item once in each epoch; a step that is repeated sees the same items."""
    rng = random.Random(kills)
    victims = [KINDS[number % len(KINDS)] for number in range(kills)]
    rng.shuffle(victims)
    spec = make_spec(photos, train=make_stream(batch_size=8, patches=1))
    with run_stack(spec, workers=2) as stack:
        job = Job(stack, tmp_path)
        try:
            while victims:
                if rng.random() < 0.8:  # else kill before the training has recovered
                    job.goes_on()
                if job.kill(victims[-1], rng):
                    victims.pop()
            job.goes_on()
            last = job.end()
        finally:
            job.close()
    check(tmp_path / "steps", last, set(range(120)) - {bad_item(photos)})


def check(folder: Path, last: int, items: set[int]) -> None:
    """Check that the steps up to a position hold each of the items once an epoch."""
    assert [] == [path.read_text() for path in folder.glob("contradiction-*")]
    epochs: defaultdict[int, Counter[int]] = defaultdict(Counter)
    ranks: Counter[str] = Counter()
    for path in folder.glob("*.json"):
        position, rank = path.stem.split("-")
        if int(position) <= last:
            epochs[(int(position) - 1) // 120].update(json.loads(path.read_text())["items"])
            ranks[rank] += 1
    assert ranks["0"] == ranks["1"]
    assert last == 120 * len(epochs)
    for epoch, seen in sorted(epochs.items()):
        assert Counter(items) == seen, f"epoch {epoch}"


def bad_item(photos: Path) -> int:
    """Return the number of the item that is no image."""
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    return files.index("dog/0007.jpg")
