"""`penstock slurm` on a real cluster of three nodes: nodes are killed, time limits come, workers come and go.

Whatever happens, the trainer gets the batches of an undisturbed local run, each exactly once.
"""

import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from engines.conftest import EPOCHS, PATIENCE_S, SETTINGS, References
from engines.slurm_cluster import GPUS, PART, PART_MINUTES, Cluster
from support.services.running import PENSTOCK
from support.streams import until
from support.transforms import unpack

pytestmark = [pytest.mark.engines, pytest.mark.slow]

TRAINER = Path(__file__).with_name("recording_trainer.py")


class SlurmJob:
    """A job of `penstock slurm` with the recording trainer."""

    def __init__(self, cluster: Cluster, spec: Path, folder: Path, *options: str, holds: tuple[int, ...] = ()) -> None:
        """Submit it."""
        self.cluster, self.folder, self.run_dir = cluster, folder, folder / "run"
        command = [PENSTOCK, "slurm", str(spec), "--run-dir", str(self.run_dir), *options, "--"]
        said = cluster.run(*command, sys.executable, TRAINER, folder, str(EPOCHS), *map(str, holds))
        [self.number] = re.findall(r"submitted as job (\d+)", said)

    def lines(self, rank: int = 0) -> list[str]:
        """Return the digests of the batches that a rank has got so far."""
        path = self.folder / f"rank-{rank}.jsonl"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line)["digest"] for line in text[: text.rfind("\n") + 1].splitlines()]

    def reached(self, batches: int, *ranks: int) -> None:
        """Wait until ranks have got so many batches."""
        wanted = ranks or (0,)
        until(lambda: all(len(self.lines(rank)) >= batches for rank in wanted), f"{batches} batches", PATIENCE_S)

    def go(self, hold: int) -> None:
        """Let the trainer go on."""
        (self.folder / f"go-{hold}").touch()

    def facts(self) -> dict[str, str]:
        """Return what Slurm says of the job."""
        words = self.cluster.run("scontrol", "--oneliner", "show", "job", self.number).splitlines()[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def ended(self) -> dict[str, str]:
        """Wait until the job has ended; return what Slurm says of it."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        until(lambda: self.facts()["JobState"] in over, f"the job's end: {self.log()}", PATIENCE_S)
        return self.facts()

    def log(self) -> str:
        """Return the job's own log."""
        path = self.run_dir / "logs/job.log"
        return path.read_text() if path.exists() else "it did not start"

    def elements(self) -> list[str]:
        """Return the elements of the job's arrays that wait or run."""
        return self.cluster.run("squeue", "-h", "--array", "--name", f"penstock-workers-of-{self.number}").splitlines()

    def limits(self) -> set[tuple[str, ...]]:
        """Return what memory and time the elements of the job's arrays have."""
        asked = ("--name", f"penstock-workers-of-{self.number}", "--format", "%m %l")
        return {tuple(line.split()) for line in self.cluster.run("squeue", "-h", "--array", *asked).splitlines()}

    def nodes(self) -> list[str]:
        """Return the nodes of the job itself, its first one first."""
        return self.cluster.run("scontrol", "show", "hostnames", self.facts()["NodeList"]).split()

    def has(self, workers: int) -> None:
        """Wait until the ventilator knows so many workers."""
        until(lambda: workers == self.workers(), f"{workers} workers", PATIENCE_S)

    def workers(self) -> int:
        """Return how many workers the ventilator knows."""
        return len(self.status().get("workers", ()))

    def sinks(self) -> dict[str, int]:
        """Return how many ranks read from each sink."""
        return {row["name"]: row["trainers"] for row in self.status().get("sinks", ())}

    def status(self) -> dict[str, Any]:
        """Return what `penstock status` says; nothing while there is no answer."""
        said = self.cluster.run(PENSTOCK, "status", "--json", "--config", self.run_dir / "status.toml", check=False)
        return dict(json.loads(said)) if said.startswith("{") else {}


@pytest.fixture
def nodes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Return the cluster with all nodes idle; jobs are cancelled and killed nodes started again afterwards."""
    for name, value in SETTINGS.items():
        monkeypatch.setitem(cluster.environment, f"PENSTOCK_{name}", value)
    yield cluster
    cluster.run("scancel", "--me")
    cluster.run("scontrol", "update", f"PartitionName={PART}", "State=UP")
    cluster.heal()


def test_a_lost_node_of_workers_costs_nothing(
    nodes: Cluster, spec: Path, tmp_path: Path, reference: References
) -> None:
    """A job trains on one node with workers on two others, of which one dies in mid-epoch.

    The job goes on as it is: it is not started again.
    """
    (tmp_path / "prologue").write_text("#SBATCH --exclusive\n")
    options = ("--array-workers", "2", "--worker-prologue", str(tmp_path / "prologue"))
    job = SlurmJob(nodes, spec, tmp_path, *options, holds=(20,))
    job.reached(20)
    job.has(2)
    nodes.kill_node(next(name for name in nodes.nodes if name not in job.nodes()))
    job.go(20)
    facts = job.ended()
    assert ("COMPLETED", "0") == (facts["JobState"], facts["Restarts"]), job.log()
    assert reference[1][0] == job.lines()


def test_a_job_goes_on_at_the_next_batch_after_its_time_limit(
    nodes: Cluster, spec: Path, tmp_path: Path, reference: References
) -> None:
    """Ranks of two nodes with a sink each are asked to save before the time limit; the job is requeued unnoticed."""
    # Slurm sends the signal up to half a minute early: the ranks have 85 s at least to begin, or they would never save.
    options = ("--nodes", "2", "--workers-per-node", "1", "--time", "3", "--signal-s", "65")
    job = SlurmJob(nodes, spec, tmp_path, *options, holds=(12,))
    job.reached(12, 0, 1)  # both are held there until the signal comes
    until(lambda: job.facts()["Restarts"] != "0", "the job to be put back into the queue", PATIENCE_S)
    job.go(12)
    facts = job.ended()
    assert "COMPLETED" == facts["JobState"], job.log()
    assert 2 == job.log().count("asked to end after 12 batches"), job.log()
    starts = int(facts["Restarts"]) + 1  # on a busy machine, the limit comes once more
    logs = [path.read_text() for path in job.run_dir.glob("logs/n*/worker-0.log")]  # the nodes may be others then
    assert 2 * starts == sum(log.count('"event": "draining"') for log in logs), logs
    assert reference[2] == [job.lines(0), job.lines(1)]


@pytest.mark.parametrize("killed", [0, 1])
def test_a_lost_node_that_trains_is_replaced(
    killed: int, nodes: Cluster, spec: Path, tmp_path: Path, reference: References
) -> None:
    """A node that trains dies in mid-epoch with its sink and two ranks: the first, with the ventilator, or another one.

    Each node has two GPUs, and so two ranks; services and workers run beside them, and have none.
    The job is put back into the queue, and goes on with the node that is left and a third one.
    """
    options = ("--nodes", "2", "--workers-per-node", "1", "--gpus-per-node", str(GPUS))
    job = SlurmJob(nodes, spec, tmp_path, *options, holds=(6, 15))
    job.reached(6, *range(4))
    first = job.nodes()
    until(lambda: dict.fromkeys(first, 2) == job.sinks(), "two ranks at each node's sink", PATIENCE_S)
    nodes.kill_node(first[killed])
    job.go(6)
    job.reached(15, *range(4))
    second = job.nodes()
    assert first[killed] not in second
    until(lambda: set(second) == set(job.sinks()), f"a sink on each node again: {job.log()}", PATIENCE_S)
    job.go(15)
    facts = job.ended()
    assert ("COMPLETED", "1") == (facts["JobState"], facts["Restarts"]), job.log()
    assert reference[4] == [job.lines(rank) for rank in range(4)]


def test_killed_sinks_come_back_on_their_nodes(
    nodes: Cluster, spec: Path, tmp_path: Path, reference: References
) -> None:
    """One is killed alone, one with its whole step: the ranks of both go on, and the job is not requeued."""
    job = SlurmJob(nodes, spec, tmp_path, "--nodes", "2", "--workers-per-node", "1", holds=(12,))
    job.reached(12, 0, 1)
    one, two = job.nodes()
    port = json.loads((job.run_dir / f"sinks/{one}.json").read_text())["trainers"].rpartition(":")[2]
    found = psutil.net_connections("tcp")
    listening = {each.laddr.port: each.pid for each in found if each.laddr and each.status == "LISTEN"}
    psutil.Process(listening[int(port)]).kill()
    [step] = [each for each in nodes.processes(two) if "penstock.launcher.slurm.node" in each.cmdline()]
    step.kill()
    job.go(12)
    facts = job.ended()
    assert ("COMPLETED", "0") == (facts["JobState"], facts["Restarts"]), job.log()
    assert reference[2] == [job.lines(0), job.lines(1)]


def test_workers_of_a_job_array_come_and_go(nodes: Cluster, spec: Path, tmp_path: Path, reference: References) -> None:
    """`penstock slurm-workers` grows an array, in another partition, and shrinks it: who goes is drained and ends well.

    That partition allows less time than the job has, and less memory is asked for there. Slurm refuses the array at
    first; arrays are shorter than the number; two programs change the number at once; and what says where the job runs
    cannot be read for a while. None of that costs a worker, or brings one too many.
    """
    nodes.run("scontrol", "update", f"PartitionName={PART}", "State=DRAIN")
    (tmp_path / "prologue").write_text("#SBATCH --mem-per-cpu=100\n")
    times = ("--time", str(2 * PART_MINUTES), "--worker-time", str(PART_MINUTES))
    options = ("--array-workers", "1", "--worker-partition", PART, "--worker-prologue", str(tmp_path / "prologue"))
    job = SlurmJob(nodes, spec, tmp_path, *times, *options, holds=(20, 40, 60))
    until(lambda: "the job array is asked for again" in job.log(), f"a refusal: {job.log()}", PATIENCE_S)
    nodes.run("scontrol", "update", f"PartitionName={PART}", "State=UP")
    for hold, workers in ((20, 4), (40, 1), (60, 2)):
        job.reached(hold)
        with ThreadPoolExecutor() as pool:
            for done in [
                pool.submit(nodes.run, PENSTOCK, "slurm-workers", job.run_dir, str(workers)) for _ in range(2)
            ]:
                done.result(PATIENCE_S)
        job.has(workers)
        if hold == 20:
            assert workers == len(job.elements())
            assert {("100M", f"{PART_MINUTES}:00")} == job.limits()
            _cannot_be_read_for_a_while(job)
            assert workers == len(job.elements())
            job.has(workers)
        job.go(hold)
    facts = job.ended()
    assert ("COMPLETED", "0") == (facts["JobState"], facts["Restarts"]), job.log()
    assert reference[1][0] == job.lines()
    until(lambda: not nodes.run("squeue", "-h"), "an empty queue")
    assert not list(job.run_dir.glob("logs/n[12]/array-*"))
    logs = [path.read_text() for path in job.run_dir.glob("logs/*/array-*/worker-0.log")]
    assert [True] * 5 == ['"event": "draining"' in log and '"reason": "asked to"' in log for log in logs]


def _cannot_be_read_for_a_while(job: SlurmJob) -> None:
    """Put a folder in place of the file that says where the job runs, until all elements have met it."""
    placed, away = job.run_dir / "placed.json", job.run_dir / "away.json"
    placed.rename(away)
    placed.mkdir()

    def met() -> int:
        logs = [path.read_text() for path in job.run_dir.glob("logs/array-*.log")]
        return sum("placed.json: Is a directory" in log and "the workers stay meanwhile" in log for log in logs)

    until(lambda: 4 == met(), "all elements to find the file unreadable", PATIENCE_S)
    placed.rmdir()
    away.rename(placed)


def test_the_number_of_workers_follows_the_need(
    nodes: Cluster, spec: Path, tmp_path: Path, reference: References, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job without workers of its own gets one from its array, and another one while its trainer waits for the first.

    While the trainer pauses, one of them is let go, and drains.
    """
    probe = unpack(tmp_path / "probe")
    known = {"PYTHONPATH": str(probe), "PROBE_SLEEP_S": "0.06"}
    for name, value in (known | {"PENSTOCK_WORKERS_UP_S": "1", "PENSTOCK_WORKERS_DOWN_S": "3"}).items():
        monkeypatch.setitem(nodes.environment, name, value)
    slow = tmp_path / "slow.toml"
    slow.write_text(spec.read_text() + '\n[[streams.train.transform.custom]]\nname = "slow"\n')
    monkeypatch.setenv("PYTHONPATH", str(probe))
    job = SlurmJob(nodes, slow, tmp_path, "--array-workers", "0-2", holds=(75,))
    job.has(2)
    job.reached(75)
    job.has(1)
    until(lambda: (job.status().get("lost") or {}).get("worker left", 0) >= 1, "its goodbye", PATIENCE_S)
    until(lambda: 1 == len(job.elements()), "one element of the array", PATIENCE_S)
    job.go(75)
    assert "COMPLETED" == job.ended()["JobState"], job.log()
    assert reference[1][0] == job.lines()
    until(lambda: not nodes.run("squeue", "-h"), "an empty queue")


def test_a_trainer_that_fails_ends_the_job_with_its_status(nodes: Cluster, spec: Path, tmp_path: Path) -> None:
    """No node is lost, so the job is not tried again; Slurm shows the trainer's own exit status."""
    command = [
        PENSTOCK,
        "slurm",
        str(spec),
        "--run-dir",
        str(tmp_path / "run"),
        "--workers-per-node",
        "1",
        "--",
        "bash",
        "-c",
    ]
    [number] = re.findall(r"submitted as job (\d+)", nodes.run(*command, "exit 7"))
    asked = ["scontrol", "--oneliner", "show", "job", number]
    until(lambda: "JobState=FAILED" in nodes.run(*asked), "the job's end", PATIENCE_S)
    assert "ExitCode=7:0" in nodes.run(*asked)
