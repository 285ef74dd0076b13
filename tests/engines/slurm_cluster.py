"""A Slurm cluster on this machine: munge, one slurmctld and several slurmd, each a node with a name and a port.

Everything lies in one folder, configuration and keys included: an installation of Slurm on this machine is not touched.
"""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psutil
from support.streams import held_ports, is_alive, until

#: Programs that must be here.
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
#: A partition of the last node alone, and the longest that a job may run there (minutes).
PART, PART_MINUTES = "cpu", 30
#: Longest that a command of Slurm may take (s).
COMMAND_S = 60.0
#: Cores and memory (MB) that each node says it has.
_CORES, _MEMORY_MB = 16, 4000
#: GPUs that it says it has: there is nothing behind them, but Slurm counts who has them.
GPUS = 2

_CONFIGURATION = """
ClusterName=penstock
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=200
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
ReturnToService=2
SlurmdTimeout=10
KillWait=10
MessageTimeout=30
InactiveLimit=0
MinJobAge=3600
GresTypes=gpu
{nodes}
MaxArraySize=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName={part} Nodes={last} MaxTime={minutes} State=UP
"""


class Cluster:
    """A running cluster; a context manager that ends every process of it, jobs included."""

    def __init__(self, folder: Path, nodes: Sequence[str]) -> None:
        """Start nothing."""
        self.folder, self.nodes = folder, tuple(nodes)
        self.environment: dict[str, str] = dict(os.environ) | {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        #: What keeps the daemons' ports for them: before they start, and while a node is gone.
        self._ports = ExitStack()

    def __enter__(self) -> Self:
        """Start everything; return when all nodes are idle."""
        self._configure()
        key = self.folder / "munge.key"
        options = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self._start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *options)
        until((self.folder / "munge.socket").exists, "munge")
        try:
            self._start("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
            until(lambda: "UP" in self.run("scontrol", "ping", check=False), "slurmctld")
            for node in self.nodes:
                self.start_node(node)
            until(lambda: all("IDLE" == self.state(node) for node in self.nodes), "all nodes to be idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End all jobs and daemons."""
        for node in self.nodes:
            self.kill_node(node)
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()
        self._ports.close()

    def run(self, *command: str | Path, check: bool = True, seconds: float = COMMAND_S) -> str:
        """Run a command of Slurm, or of Penstock, in this cluster; return what it said."""
        done = subprocess.run(
            list(map(str, command)),
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
            cwd=self.folder,
        )
        assert not check or 0 == done.returncode, f"{' '.join(map(str, command))}: {done.stdout}"
        return done.stdout

    def state(self, node: str) -> str:
        """Return a node's state, such as IDLE, MIXED or DOWN."""
        words = self.run("scontrol", "--oneliner", "show", "node", node).split()
        return next(word.removeprefix("State=") for word in words if word.startswith("State="))

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._start("slurmd", "-D", "-N", node, "-f", str(self.folder / "slurm.conf"), name=node)

    def kill_node(self, node: str) -> None:
        """Kill a node as a power cut does: its slurmd, its steps and all that they started."""
        daemon = self._daemons.pop(node, None)
        if daemon is None:
            return
        daemon.kill()
        daemon.wait()
        while found := self.processes(node):
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(found, timeout=COMMAND_S)

    def heal(self) -> None:
        """Start killed nodes again; return when all nodes are idle."""
        for node in self.nodes:
            if node not in self._daemons:
                # An administrator's word: else Slurm asks a node for minutes whether its last job has ended.
                self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=killed")
                self.start_node(node)
        until(lambda: all("IDLE" == self.state(node) for node in self.nodes), "all nodes to be idle")

    def processes(self, node: str) -> list[psutil.Process]:
        """Return the processes of a node's jobs: what a step started, and the steps' own daemons."""
        found = set()
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                known = process.environ()
                if known.get("SLURMD_NODENAME") == node and known.get("SLURM_CONF") == self.environment["SLURM_CONF"]:
                    found.add(process)
                    found |= {each for each in process.parents() if each.name().startswith("slurmstepd")}
        return [each for each in found if is_alive(each)]

    def _configure(self) -> None:
        host = socket.gethostname()
        self.folder.chmod(0o755)
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (self.folder / name).mkdir()
        ports = self._ports.enter_context(held_ports(len(self.nodes) + 1))
        lines = [
            f"NodeName={node} NodeHostName={host} NodeAddr=127.0.0.1 Port={port} CPUs={_CORES} RealMemory={_MEMORY_MB} "
            f"Gres=gpu:{GPUS} "
            "State=UNKNOWN"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        ]
        text = _CONFIGURATION.format(
            host=host,
            port=ports[0],
            folder=self.folder,
            nodes="\n".join(lines),
            part=PART,
            minutes=PART_MINUTES,
            last=self.nodes[-1],
        )
        (self.folder / "slurm.conf").write_text(text)
        for number in range(GPUS):
            (self.folder / f"gpu{number}").touch()
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-{GPUS - 1}]\n")
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")

    def _start(self, program: str, *arguments: str, name: str = "") -> None:
        log = (self.folder / f"{name or program}.out").open("ab")
        path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
        assert path
        with log:
            self._daemons[name or program] = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environment),
                start_new_session=True,
            )


def missing() -> str:
    """Return why there can be no cluster here, or nothing."""
    if absent := [name for name in PROGRAMS if not shutil.which(name) and not shutil.which(name, path="/usr/sbin")]:
        return f"these programs of Slurm and munge are not here: {', '.join(absent)} (Debian: slurm-wlm)"
    if os.geteuid():
        return "slurmd needs root"
    return ""
