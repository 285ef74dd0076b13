"""The job array of workers of a Slurm job, without a cluster: who goes, who may change it, what Slurm refuses."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.services.slurm import PLAN, program
from support.streams import make_images, make_spec, until

from penstock.commands.engines.slurm import main
from penstock.launcher.slurm import commands, job_array
from penstock.launcher.slurm.array import Change, change, set_array
from penstock.launcher.slurm.job_array import JobArray
from penstock.launcher.slurm.plan import JobPlan, Placed, RunFolder
from penstock.launcher.slurm.script import array_script
from penstock.protocol.errors import DeadlineError, StackError

#: Longest that a process may take to begin or to end (s).
PATIENCE_S = 180.0


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


def test_who_is_killed_while_it_lets_an_element_go_forgets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one to change the number tells the element, which the killed one may not have told."""
    program(tmp_path / "squeue", "echo '8_0|RUNNING'; echo '8_1|RUNNING'")
    program(tmp_path / "scancel", 'test -e again || { touch again; kill -9 $PPID; exit; }; echo "$@" >> told')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder, placed = RunFolder(tmp_path / "run"), Placed(job="1", ventilator="tcp://a:7")
    folder.path.mkdir()
    PLAN.write(folder.plan)
    placed.write(folder.placed)
    command = [sys.executable, "-P", "-m", "penstock.commands.engines.slurm_workers", str(folder.path), "1"]
    assert -signal.SIGKILL == subprocess.run(command, check=False, timeout=60).returncode
    for _ in range(2):  # one that was told, and has not left yet, is not told again
        assert 1 == set_array(folder, PLAN, placed, 1)
    assert "--batch --signal=TERM 8_1\n" == (tmp_path / "told").read_text()


def test_a_damaged_list_of_those_that_leave_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it: an element that was told and is still there may be told again."""
    program(tmp_path / "squeue", "true")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = RunFolder(tmp_path)
    for text in ("", "7", '["8_', "\udcff"):
        folder.leaving.write_text(text, errors="surrogateescape")
        with pytest.raises(StackError, match=r"leaving\.json is damaged: .*; remove it"):
            set_array(folder, PLAN, Placed(job="1", ventilator="tcp://a:7"), 0)


def test_what_follows_the_need_is_started_once_the_run_folder_can_be_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that cannot be opened for a moment does not leave the job with its first workers."""
    program(tmp_path / "squeue", "true")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(job_array, "_PAUSE_S", 0.1)
    logs, ready = tmp_path / "logs", threading.Event()

    def begin() -> None:
        try:
            (logs / "autoscale.log").touch()
        except FileNotFoundError:
            logs.mkdir()
            raise
        ready.set()

    plan = PLAN.model_copy(update={"array": (0, 1)})
    failures = list[str]()
    array = JobArray(RunFolder(tmp_path), plan, Placed(job="1", ventilator="tcp://a:7"), begin, failures.append)
    array.start()
    assert ready.wait(60)
    array.end(60.0)
    assert [] == failures
    assert "autoscale.log'; again in " in capsys.readouterr().out


def element_of(folder: RunFolder, bin_folder: Path) -> subprocess.Popen[bytes]:
    """Start what an element of a job array runs, without workers, as element 3 of the array 8 of the job 1."""
    known = {"SLURMD_NODENAME": "n1", "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "3"}
    command = [sys.executable, "-P", "-m", "penstock.launcher.slurm.node", str(folder.path), "0", "tcp://a:7", "1"]
    return subprocess.Popen(command, env=os.environ | known | {"PATH": f"{bin_folder}:{os.environ['PATH']}"})


@pytest.mark.parametrize(("numbers", "comes_back"), [(["USR1"], True), (["TERM", "USR1"], False)])
def test_an_element_goes_back_into_the_queue_at_its_time_limit_alone(
    tmp_path: Path, numbers: list[str], *, comes_back: bool
) -> None:
    """The number of workers stays what was asked for; one that was told to drain (SIGTERM) does not come back."""
    folder = RunFolder(tmp_path)
    PLAN.write(folder.plan)
    Placed(job="1", ventilator="tcp://a:7").write(folder.placed)
    program(tmp_path / "squeue", "echo RUNNING")
    program(tmp_path / "scontrol", 'echo "$@" >> told')
    with element_of(folder, tmp_path) as element:
        until((folder.logs / "n1/array-8_3").exists, "the element to begin", PATIENCE_S)
        for number in numbers:
            element.send_signal(signal.Signals[f"SIG{number}"])
        assert 0 == element.wait(PATIENCE_S)
    told = tmp_path / "told"
    assert ("requeue 8_3\n" if comes_back else "") == (told.read_text() if told.exists() else "")


def test_a_job_goes_back_into_the_queue_though_slurm_refuses_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller that restarts at the job's time limit does not end the job; one that refuses for good is told."""
    refuse = "echo 'Unable to contact slurm controller' >&2; exit 1"
    program(tmp_path / "scontrol", f'[ -e refused ] || {{ touch refused; {refuse}; }}; echo "$@" >> told')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    commands.requeue("7", 60.0)
    assert "requeue 7\n" == (tmp_path / "told").read_text()
    (tmp_path / "refused").unlink()
    with pytest.raises(StackError, match="scontrol requeue: Unable to contact slurm controller"):
        commands.requeue("7", 0.0)


def test_an_element_that_was_told_to_leave_before_its_node_was_lost_ends_at_once(tmp_path: Path) -> None:
    """Slurm starts it again, but nobody counts it any more."""
    folder = RunFolder(tmp_path)
    PLAN.write(folder.plan)
    Placed(job="1", ventilator="tcp://a:7").write(folder.placed)
    folder.leaving.write_text('["8_2", "8_3"]')
    with element_of(folder, tmp_path) as element:
        assert 0 == element.wait(PATIENCE_S)
    assert not folder.logs.exists()


def test_the_array_has_options_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partition and time limit differ from the job's; what the user's file says comes after them, and so counts."""
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(make_spec(make_images(tmp_path / "photos", each=2))))
    (tmp_path / "prologue").write_text("#SBATCH --mem=8G\n")
    program(tmp_path / "sbatch", "echo 7")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = RunFolder(tmp_path / "run")
    own = ["--time", "02:00:00", "--partition", "gpu", "--account", "ml"]
    theirs = ["--worker-time", "00:30:00", "--worker-partition", "cpu", "--worker-prologue", str(tmp_path / "prologue")]
    arguments = [str(spec), "--run-dir", str(folder.path), "--array-workers", "1", *own, *theirs, "--", "true"]
    assert 0 == main(arguments)
    script = array_script(JobPlan.read(folder.plan), folder, Placed(job="7", ventilator="tcp://a:7"), 1).splitlines()
    options = [line.split()[1] for line in script if line.startswith("#SBATCH")]
    assert ["--account=ml", "--time=00:30:00", "--partition=cpu", "--mem=8G"] == options[-4:]
    assert {"--time=02:00:00", "--partition=gpu"} <= set(folder.script.read_text().split())


def test_workers_of_an_array_leave_in_order() -> None:
    """Those that wait go before those that run, the youngest first; those that were told to leave are not counted."""
    there = [("3_0", True), ("3_1", True), ("7_0", True), ("7_1", False)]
    assert Change(0, (), ()) == change(there, [], 4)
    assert Change(2, (), ()) == change(there, ["3_1"], 5)
    assert Change(0, ["7_1"], ["7_0"]) == change(there, [], 2)
    assert Change(0, ["7_1"], ["3_1", "3_0"]) == change(there, ["7_0"], 0)
