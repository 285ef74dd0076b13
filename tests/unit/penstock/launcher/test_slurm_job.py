"""What a Slurm job does once it has asked its trainer to save, without a cluster: small programs stand for Slurm's."""

import os
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.services.slurm import PLAN, program
from support.streams import until

from penstock.launcher.slurm.job import Job
from penstock.launcher.slurm.plan import RunFolder

#: Longest that a program may take to begin or to end (s).
PATIENCE_S = 60.0
#: A trainer that saves and ends with a status once it gets SIGUSR1.
SAVES = "trap 'exit {}' USR1; touch begun; while :; do sleep 0.05; done"
#: One without a handler; one that ignores the signal.
DIES, IGNORES = "touch begun; exec sleep 600", "trap '' USR1; touch begun; exec sleep 600"
#: One whose rank gets the signal from it, as ranks do from `srun`, which then ends with 128 and the signal's number.
RANKS = "sleep 600 & rank=$!; trap 'kill -USR1 $rank' USR1; touch begun; wait $rank; wait $rank"


@contextmanager
def job_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, answers: bool = True, requeue: bool = True
) -> Generator[Job]:
    """Give a job on one node, which answers or not."""
    program(folder / "scontrol", 'case "$2" in hostnames) echo n1;; node) echo NodeAddr=127.0.0.1;; esac')
    program(folder / "srun", "true" if answers else "exit 1")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name, value in {"JOB_ID": "7", "JOB_NODELIST": "n1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    run_folder = RunFolder(folder)
    PLAN.model_copy(update={"requeue": requeue}).write(run_folder.plan)
    job = Job(run_folder)
    with job._ports:
        yield job


def asked(job: Job, folder: Path, words: str, *, ends: bool = True) -> bool:
    """Let a trainer begin and ask it to save; return whether the job goes back into the queue after its end."""
    program(folder / "trainer", words)
    (folder / "begun").unlink(missing_ok=True)
    with subprocess.Popen([str(folder / "trainer")]) as trainer:
        until((folder / "begun").exists, "the trainer to begin", PATIENCE_S)
        job._warn(signal.SIGUSR1, None)
        job._ask_to_save(trainer, time.monotonic())
        if ends:
            trainer.wait(PATIENCE_S)
        again = job._is_to_go_on(trainer)
        trainer.wait(PATIENCE_S)
    return again


def test_a_trainer_that_saves_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended with status 0; with `--no-requeue`, that is the job's end."""
    for requeue in (True, False):
        with job_in(tmp_path, monkeypatch, requeue=requeue) as job:
            assert requeue == asked(job, tmp_path, SAVES.format(0))
        assert "" == job._failure


def test_a_trainer_that_does_not_end_in_time_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last checkpoint is an older one; it may well ignore the signal."""
    with job_in(tmp_path, monkeypatch) as job:
        assert asked(job, tmp_path, IGNORES, ends=False)
    assert "" == job._failure


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (DIES, "the trainer has no handler for SIGUSR1"),
        (RANKS, "the trainer has no handler for SIGUSR1"),
        (SAVES.format(3), "the trainer ended with status 3 when it was asked to save"),
    ],
    ids=["killed", "killed-ranks", "failed"],
)
def test_a_trainer_that_does_not_save_ends_the_job(
    words: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would begin anew at each start, for ever. The error says what is missing, and names the page."""
    with job_in(tmp_path, monkeypatch) as job:
        assert not asked(job, tmp_path, words)
    assert job._failure.startswith(says)
    assert "Let it handle the signal, save, and end with status 0" in job._failure
    assert "docs/slurm.md shows it under `Before the time limit`" in job._failure


def test_a_trainer_whose_node_does_not_answer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have failed since the node is lost."""
    with job_in(tmp_path, monkeypatch, answers=False) as job:
        assert asked(job, tmp_path, DIES)
    assert "" == job._failure
