"""What `penstock slurm` writes and refuses, without a cluster: `make test-engines` runs jobs on a real one."""

import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.services.running import PENSTOCK, refused
from support.services.slurm import PLAN, program
from support.streams import make_images

import penstock
from penstock.commands.engines.slurm import main
from penstock.launcher.slurm import commands
from penstock.launcher.slurm.node import NodeServices
from penstock.launcher.slurm.node_sink import place_sink
from penstock.launcher.slurm.plan import JobPlan, NodeSink, Placed, RunFolder
from penstock.launcher.slurm.steps import NodeStep
from penstock.protocol.errors import SpecError

SPEC = """
roots = {{ photos = "{photos}" }}
[streams.train]
source = {{ kind = "directory", root = "photos" }}
batch_size = 4
transform = {{ resize = {{ height = 32, width = 32 }} }}
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """Return the path of a spec."""
    path = tmp_path / "spec.toml"
    path.write_text(SPEC.format(photos=make_images(tmp_path / "photos", each=2)))
    return str(path)


def test_the_script_asks_for_what_was_asked_for(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes, processors for workers, ranks and services, GPUs, the signal; a user's own lines come before the command.

    With `--print`, nothing is written. A folder's name may hold a space.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prologue").write_text("#SBATCH --constraint=a100\nmodule load cuda\n")
    wanted = ["--nodes", "4", "--gpus-per-node", "2", "--workers-per-node", "8", "--time", "04:00:00"]
    known = ["--prologue", "prologue", "--run-dir", "my run", "--print", "--", "python", "train.py", "--lr=1,2"]
    assert 0 == main([spec, *wanted, *known])
    lines = capsys.readouterr().out.splitlines()
    options = [word for line in lines if line.startswith("#SBATCH") for word in shlex.split(line)[1:]]
    assert {"--nodes=4", "--cpus-per-task=12", "--gres=gpu:2", "--requeue"} <= set(options)
    assert {"--signal=B:USR1@120", f"--output={tmp_path}/my run/logs/job.log", "--time=04:00:00"} <= set(options)
    assert ["module load cuda", "exec"] == [lines[-2], lines[-1].split()[0]]
    assert f"{tmp_path}/my run" == shlex.split(lines[-1])[-1]
    assert not (tmp_path / "my run").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--workers-per-node", "1", "--run-dir", __file__, "--", "true"), "give another folder as --run-dir"),
        (("--workers-per-node", "1"), "no command of a trainer: give it after --"),
        (("--sinks", "2", "--workers-per-node", "1", "--", "true"), "'per-node' or '1'"),
        (("--", "true"), "no workers: give --workers-per-node 8, or --array-workers 1-64"),
        (("--array-workers", "8-2", "--", "true"), "--array-workers '8-2': give the fewest and the most"),
        (("--array-workers", "1", "--ports", "80-90", "--", "true"), "--ports '80-90': give at least three ports"),
        (("--array-workers", "1", "--name", "a b", "--", "true"), "--name 'a b'"),
        (("--array-workers", "1", "--prologue", "none.sh", "--", "true"), "--prologue 'none.sh'"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    options: tuple[str, ...], says: str, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The value is quoted, and what to give instead is said; nothing is written."""
    assert 2 == main([spec, *options])
    assert says in capsys.readouterr().err


def test_a_machine_without_slurm_is_told_where_to_go(spec: str, tmp_path: Path) -> None:
    """Where there is no `sbatch`, the error says so, in one line; no keys are left there."""
    command = [PENSTOCK, "slurm", spec, "--run-dir", str(tmp_path / "run"), "--workers-per-node", "1", "--", "true"]
    said = refused(*command, env={"PATH": "/nonexistent"})
    assert "there is no program 'sbatch' here: run this on a login node" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("existed", [False, True])
def test_a_job_that_slurm_refuses_can_be_submitted_again(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, existed: bool
) -> None:
    """To the same run folder: nothing is left there, no keys either. A folder that existed stays, and is empty."""
    folder = tmp_path / "run"
    if existed:
        folder.mkdir()
    program(tmp_path / "sbatch", "test -e again && echo 7 && exit; touch again; echo invalid partition >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    command = [spec, "--run-dir", str(folder), "--workers-per-node", "1", "--", "true"]
    assert 2 == main(command)
    assert "sbatch --parsable: invalid partition" in capsys.readouterr().err
    assert ([] if existed else None) == (list(folder.iterdir()) if folder.exists() else None)
    assert 0 == main(command)
    assert "submitted as job 7" in capsys.readouterr().out
    assert RunFolder(folder).keys.exists()
    assert 2 == main(command), "there is a job in it now"
    assert "there is something in it already: give a new folder" in capsys.readouterr().err
    assert RunFolder(folder).keys.exists()


@pytest.mark.parametrize(
    "words",
    ["exec sleep 600", "echo 'Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"],
    ids=["hangs", "times-out"],
)
def test_a_job_that_may_have_been_accepted_keeps_its_folder(
    words: str, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slurm did not answer in time: the job needs script and keys if it runs. The error says how to find out."""
    monkeypatch.setattr(commands, "_COMMAND_S", 0.5)
    program(tmp_path / "sbatch", words)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = RunFolder(tmp_path / "run")
    assert 2 == main([spec, "--run-dir", str(folder.path), "--workers-per-node", "1", "--", "true"])
    said = capsys.readouterr().err
    assert "The job may have been accepted all the same: `squeue --me` says whether it was" in said
    assert f"`sbatch {folder.script}` submits it" in said
    assert folder.script.exists()
    assert folder.keys.exists()


def test_a_rank_reads_from_the_sink_of_its_node(tmp_path: Path) -> None:
    """Its command becomes the program, with the sink's address of this start of the job; that of an earlier one is old.

    The program's words, status and process are its own.
    """
    folder = RunFolder(tmp_path)
    folder.sinks.mkdir()
    old, new = (
        NodeSink(ventilator=f"tcp://a:{n}", results="tcp://b:1", trainers=f"tcp://127.0.0.1:{n}") for n in (7, 8)
    )
    old.write(folder.sink("n1"))
    module = [sys.executable, "-P", "-m", "penstock.launcher.slurm.rank", str(tmp_path), new.ventilator]
    program = "import os, sys; print(os.environ['PENSTOCK_SINK'], os.getpid(), *sys.argv[1:]); sys.exit(7)"
    command = [*module, sys.executable, "-c", program, "--lr", "1 2"]
    with subprocess.Popen(
        command, env=os.environ | {"SLURMD_NODENAME": "n1"}, stdout=subprocess.PIPE, text=True
    ) as rank:
        new.write(folder.sink("n1"))
        said, _ = rank.communicate(timeout=60)
    assert (7, f"tcp://127.0.0.1:8 {rank.pid} --lr 1 2\n") == (rank.returncode, said)


def test_a_sink_that_starts_again_waits_for_its_ports(tmp_path: Path) -> None:
    """The sink of a killed step holds them for a moment: another place would be unknown to ranks that run already."""
    with socket.create_server(("", 0)) as left:
        port = left.getsockname()[1]
        known = NodeSink(ventilator="tcp://a:7", results=f"tcp://b:{port}", trainers=f"tcp://127.0.0.1:{port}")
        asked: dict[str, Any] = {"ports": (20000, 31999)}
        folder, plan = RunFolder(tmp_path), JobPlan.model_construct(**asked)
        folder.sinks.mkdir()
        known.write(folder.sink("n1"))
        timer = threading.Timer(0.3, left.close)
        timer.start()
        found, _ = place_sink(folder, plan, "n1", known.ventilator)
        timer.join()
    assert found == known


def test_services_stay_where_the_shared_file_system_fails_for_a_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What says where the job runs cannot be read for a while: that is said once, and ends nothing.

    A folder in the file's place fails as a stale handle does. Once it can be read, it counts again.
    """
    folder = RunFolder(tmp_path)
    PLAN.write(folder.plan)
    services = NodeServices(folder, 1, "tcp://a:7", "")
    folder.placed.mkdir()
    assert [False, False] == [services._is_elsewhere(), services._is_elsewhere()]
    assert 1 == capsys.readouterr().out.count("the workers stay meanwhile")
    folder.placed.rmdir()
    Placed(job="1", ventilator="tcp://a:7").write(folder.placed)
    assert not services._is_elsewhere()
    Placed(job="1", ventilator="tcp://b:7").write(folder.placed)
    assert services._is_elsewhere()


def test_a_part_of_a_job_waits_for_what_it_cannot_read(tmp_path: Path) -> None:
    """A node may start while the file server restarts; a person who gives a wrong folder is told at once."""
    path = tmp_path / "job.json"
    with pytest.raises(SpecError, match=r"job\.json: No such file.*; give the run folder"):
        JobPlan.read(path)
    path.mkdir()

    def repair() -> None:
        path.rmdir()
        PLAN.write(path)

    timer = threading.Timer(0.3, repair)
    timer.start()
    assert PLAN == JobPlan.read(path, 60.0)
    timer.join()


def test_services_that_slurm_does_not_answer_are_tried_again(tmp_path: Path) -> None:
    """A step ends with status 2, which ends the job, only where another try cannot help: a program is missing."""
    folder = RunFolder(tmp_path)
    PLAN.model_copy(update={"sink_per_node": True}).write(folder.plan)
    command = [sys.executable, "-P", "-m", "penstock.launcher.slurm.node", str(tmp_path), "0", "tcp://a:7"]
    known = {"SLURMD_NODENAME": "n1", "SLURM_JOB_NODELIST": "n1", "PATH": str(tmp_path)}

    def run() -> tuple[int, str]:
        done = subprocess.run(
            command, env=os.environ | known, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        return done.returncode, done.stderr

    assert (2, True) == ((ended := run())[0], "there is no program 'scontrol'" in ended[1])
    program(tmp_path / "scontrol", "echo the controller is busy >&2; exit 1")
    assert (1, True) == ((ended := run())[0], "the controller is busy" in ended[1])


def test_a_step_whose_log_cannot_be_opened_is_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job goes on, and the step starts once the folder can be written again."""
    program = tmp_path / "srun"
    program.write_text("#!/bin/sh\necho started\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    log = tmp_path / "logs" / "workers-n1.log"
    step = NodeStep("n1", 1, ["true"], log)
    now = time.monotonic()
    step.turn(now)
    log.parent.mkdir()
    step.turn(now)
    assert not log.exists(), "the pause is not over"
    step.turn(now + 2)
    step.wait(now + 60)
    assert "started\n" == log.read_text()


def test_a_program_connects_to_the_engines_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is given wins over PENSTOCK_SINK, which wins over the default."""
    monkeypatch.setenv("PENSTOCK_SINK", "tcp://head:5557")
    assert "tcp://head:5557" in repr(penstock.connect())
    assert "tcp://other:5557" in repr(penstock.connect("tcp://other:5557"))
