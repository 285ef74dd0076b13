"""What `penstock slurm` writes and refuses, without a cluster: `make test-engines` runs jobs on a real one."""

import os
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support.services.running import PENSTOCK, refused
from support.streams import make_images

import penstock
from penstock.commands.engines.slurm import main
from penstock.launcher.slurm.array import Change, change
from penstock.launcher.slurm.node_sink import place_sink
from penstock.launcher.slurm.plan import JobPlan, NodeSink, RunFolder

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
    """Where there is no `sbatch`, the error says so, in one line."""
    command = [PENSTOCK, "slurm", spec, "--run-dir", str(tmp_path / "run"), "--workers-per-node", "1", "--", "true"]
    said = refused(*command, env={"PATH": "/nonexistent"})
    assert "there is no program 'sbatch' here: run this on a login node" in said


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
        found = place_sink(folder, plan, "n1", known.ventilator)
        timer.join()
    assert found == known


def test_workers_of_an_array_leave_in_order() -> None:
    """Those that wait go before those that run, the youngest first; those that were told to leave are not counted."""
    there = [("3_0", True), ("3_1", True), ("7_0", True), ("7_1", False)]
    assert Change(0, (), ()) == change(there, [], 4)
    assert Change(2, (), ()) == change(there, ["3_1"], 5)
    assert Change(0, ["7_1"], ["7_0"]) == change(there, [], 2)
    assert Change(0, ["7_1"], ["3_1", "3_0"]) == change(there, ["7_0"], 0)


def test_a_program_connects_to_the_engines_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is given wins over PENSTOCK_SINK, which wins over the default."""
    monkeypatch.setenv("PENSTOCK_SINK", "tcp://head:5557")
    assert "tcp://head:5557" in repr(penstock.connect())
    assert "tcp://other:5557" in repr(penstock.connect("tcp://other:5557"))
