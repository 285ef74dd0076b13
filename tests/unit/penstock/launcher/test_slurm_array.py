"""The job array of workers of a Slurm job, without a cluster: who goes, who may change it, what Slurm refuses."""

import fcntl
import os
import threading
from pathlib import Path

import pytest
from support.services.slurm import PLAN, program

from penstock.launcher.slurm import commands, job_array
from penstock.launcher.slurm.array import Change, change, set_array
from penstock.launcher.slurm.job_array import JobArray
from penstock.launcher.slurm.plan import Placed, RunFolder
from penstock.protocol.errors import DeadlineError


def test_one_program_at_a_time_changes_the_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several that ask for the same number at once submit no more elements than that, in arrays as long as may be.

    The programs of Slurm are small ones here, which keep the elements in a file; `sbatch` takes its time.
    """
    (tmp_path / "queue").touch()
    program(tmp_path / "squeue", "cat queue")
    program(tmp_path / "scontrol", "echo 'MaxArraySize            = 2'")
    # Numbers of jobs go up from 7: the elements of the job are the numbers of the script's `--array=0-N`.
    count = "last=$(sed -n 's/.*--array=0-//p' \"$2\"); number=$((7 + $(wc -l < queue))); sleep 0.3"
    program(tmp_path / "sbatch", f'{count}; for i in $(seq 0 $last); do echo "${{number}}_$i|RUNNING" >> queue; done')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    placed = Placed(job="1", ventilator="tcp://a:7")
    threads = [threading.Thread(target=set_array, args=(folder, PLAN, placed, 5)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ["7_0", "7_1", "9_0", "9_1", "11_0"] == [number for number, _ in commands.elements("any")]
    with folder.array_lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DeadlineError, match="another program that changes the number of workers"):
            set_array(folder, PLAN, placed, 1, 0.2)


def test_a_job_array_that_slurm_refuses_at_first_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One refused `sbatch` does not end the job; what follows the need starts once the array is there."""
    (tmp_path / "queue").touch()
    program(tmp_path / "squeue", "cat queue")
    program(tmp_path / "scontrol", "echo 'MaxArraySize            = 1001'")
    program(
        tmp_path / "sbatch", "test -e again || { touch again; echo try later >&2; exit 1; }; echo '8_0|RUNNING' > queue"
    )
    program(tmp_path / "scancel", 'case "$1" in --batch) : > queue;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    monkeypatch.setattr(job_array, "_PAUSE_S", 0.2)
    ready, failures = threading.Event(), list[str]()
    plan = PLAN.model_copy(update={"array": (0, 1), "array_first": 1})
    array = JobArray(folder, plan, Placed(job="1", ventilator="tcp://a:7"), ready.set, failures.append)
    array.start()
    assert ready.wait(60)
    assert [("8_0", True)] == commands.elements("any")
    array.end(60.0)
    assert [] == commands.elements("any")
    assert [] == failures
    assert "sbatch --parsable: try later; the job array is asked for again in " in capsys.readouterr().out


def test_a_job_without_other_workers_ends_when_slurm_refuses_its_array_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is Slurm's own."""
    monkeypatch.setattr(job_array, "_PATIENCE_S", 0.0)
    program(tmp_path / "squeue", "echo no such partition >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    failed, whys = threading.Event(), list[str]()

    def fail(why: str) -> None:
        whys.append(why)
        failed.set()

    array = JobArray(RunFolder(tmp_path), PLAN, Placed(job="1", ventilator="tcp://a:7"), failed.set, fail)
    array.start()
    assert failed.wait(60)
    assert ["Slurm has refused the job array of workers for 0 s: squeue -h: no such partition"] == whys


def test_workers_of_an_array_leave_in_order() -> None:
    """Those that wait go before those that run, the youngest first; those that were told to leave are not counted."""
    there = [("3_0", True), ("3_1", True), ("7_0", True), ("7_1", False)]
    assert Change(0, (), ()) == change(there, [], 4)
    assert Change(2, (), ()) == change(there, ["3_1"], 5)
    assert Change(0, ["7_1"], ["7_0"]) == change(there, [], 2)
    assert Change(0, ["7_1"], ["3_1", "3_0"]) == change(there, ["7_0"], 0)
