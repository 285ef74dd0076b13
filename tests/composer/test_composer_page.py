"""The snippet of docs/trainers.md for Composer: its own checkpoint resumes in mid-epoch with the very next batch."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.streams import until
from support.trainers.ranks import two_ranks
from support.trainers.snippets import Network, torch, train_network

from penstock.launcher.stack import LocalStack

pytestmark = [
    pytest.mark.integration,
    pytest.mark.composer,
    pytest.mark.filterwarnings("default"),  # Composer warns, such as about an epoch of which nothing is left
]

PROGRAM = Path(__file__).parent / "programs" / "killed_run.py"
#: Composer chooses its seed, else.
OPTIONS = {"seed": 7, "device": "cpu", "progress_bar": False}
#: Batches of an epoch; each run is of two.
EPOCH = 15
#: Steps that a process may make from the one after which it is to be killed to its end.
FURTHER = 4
#: Longest that a process may take to train a few steps (s): it imports Composer, on a machine that may be busy.
PATIENCE_S = 300.0


def train(stack: LocalStack, folder: Path, cut: int = -1, dropout: float = 0.5) -> Network:
    """Run the snippet up to the step `cut`, on one thread: more of them would add numbers up in another order."""
    torch.set_num_threads(1)
    return train_network(Network(cut, dropout), "composer", stack.address, folder, **OPTIONS)


@pytest.fixture(scope="module")
def whole(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Network:
    """Return the network after a run that was not interrupted; it has seen each batch once."""
    network = train(stack, tmp_path_factory.mktemp("whole"))
    assert 2 * EPOCH == len(network.seen) == len(set(network.seen))
    return network


# The last checkpoints: in the first epoch, at its end, and in the second one.
@pytest.mark.parametrize(("cut", "saved"), [(12, 10), (16, 15), (22, 20)])
def test_a_run_that_is_cut_off_goes_on_with_the_very_next_batch(
    stack: LocalStack, whole: Network, tmp_path: Path, cut: int, saved: int
) -> None:
    """From its last checkpoint; the weights at the end are those of a run that was not cut off, to the last bit."""
    before = train(stack, tmp_path, cut)
    after = train(stack, tmp_path)
    assert whole.seen[:cut] == before.seen
    assert whole.seen[saved:] == after.seen
    for expected, got in zip(whole.parameters(), after.parameters(), strict=True):
        assert torch.equal(expected, got)


def test_a_run_that_is_killed_at_any_moment_goes_on_from_its_checkpoint(
    stack: LocalStack, whole: Network, tmp_path: Path
) -> None:
    """By SIGKILL, in either epoch: what the processes saw are the batches of the whole run, from a checkpoint each."""
    (tmp_path / "kept").mkdir()
    reached = 0
    for least in (7, 19, 2 * EPOCH):
        began = steps_saved(tmp_path / "kept")
        # What was saved after the last step of a process may not have been complete when it was killed; Composer
        # removes the name of the last checkpoint before it gives it to the next one.
        expected = {reached // 5 * 5, max(0, (reached - 1) // 5 * 5)}
        assert began in expected or not (tmp_path / "kept" / "latest-rank0.pt").is_symlink()
        seen = killed_run(stack, tmp_path, steps=least - began, kill=least < 2 * EPOCH)
        assert whole.seen[began : began + len(seen)] == seen
        reached = began + len(seen)
    assert 2 * EPOCH == reached
    weights = torch.nn.utils.parameters_to_vector(whole.parameters()).tolist()
    assert weights == json.loads((tmp_path / "weights.json").read_text(encoding="utf-8"))


def steps_saved(folder: Path) -> int:
    """Return after how many steps Composer's last checkpoint was saved."""
    last = folder / "latest-rank0.pt"
    return int(last.readlink().name.split("-")[1].removeprefix("ba")) if last.is_symlink() else 0


def killed_run(stack: LocalStack, folder: Path, steps: int, *, kill: bool) -> list[float]:
    """Run the snippet in a process, to its end, or `kill` it a few steps after so many `steps`; return what it saw."""
    (folder / "seen").write_text("", encoding="utf-8")
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}

    def seen() -> list[float]:
        whole_lines = (folder / "seen").read_text(encoding="utf-8").split("\n")[:-1]
        return [float(line) for line in whole_lines]

    with (folder / "log").open("wb") as log:
        command = [sys.executable, str(PROGRAM), stack.address, str(folder), str(steps + FURTHER if kill else 0)]
        process = subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log)
        try:
            if kill:
                until(lambda: len(seen()) >= steps or process.poll() is not None, "steps of a run", PATIENCE_S)
                process.send_signal(signal.SIGKILL)
            status = process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()
    assert status == (-signal.SIGKILL if kill else 0), (folder / "log").read_text(encoding="utf-8")[-3000:]
    return seen()


def test_two_ranks_go_on_together_or_one_alone(stack: LocalStack, tmp_path: Path) -> None:
    """Two processes of Composer's launcher with gloo; their checkpoint also resumes a run of one process."""
    alone = train(stack, tmp_path / "alone", dropout=0.0)
    # A step of two ranks takes what are two batches of one process; an epoch's last one is a single one.
    epochs = [alone.seen[:EPOCH], alone.seen[EPOCH:]]
    steps = [pytest.approx(sum(epoch[at : at + 2]), abs=0.01) for epoch in epochs for at in range(0, EPOCH, 2)]
    before = two_ranks("composer", stack.address, tmp_path / "two", cut=7)
    shutil.copytree(tmp_path / "two", tmp_path / "one", symlinks=True)
    after = two_ranks("composer", stack.address, tmp_path / "two", cut=-1)
    assert steps[:7] == [sum(pair) for pair in zip(*(rank["seen"] for rank in before), strict=True)]
    assert steps[5:] == [sum(pair) for pair in zip(*(rank["seen"] for rank in after), strict=True)]
    assert after[0]["weights"] == after[1]["weights"]

    rest = train(stack, tmp_path / "one", dropout=0.0)
    assert alone.seen[2 * 5 :] == rest.seen
