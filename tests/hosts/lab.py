"""Hosts on one machine: network namespaces joined by a switch, and processes that see nothing of each other but that.

Owns namespaces, links and what can go wrong with them. Knows nothing of Penstock. Each process also has its own process
ids, host name, mounts and monotonic clock, as on a machine of its own; only files are shared.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from support.streams import until

#: Of the addresses of hosts, which are numbered from 1; and of those in the second network.
_NET, _NET6, _NET_TWO = "10.77.0.", "fd77::", "10.78.0."
#: What `ip netns exec` shows a namespace's processes in place of the files in /etc, by the namespace's name.
_OWN_FILES = Path("/etc/netns")
#: Longest that a killed process may take to be gone (s).
_END_S = 60.0
#: A process's own namespaces, then its mounts: pairs of source and target before a `--`.
_ENTER = """
hostname "$0"
while [ "$1" != -- ]; do mkdir -p "$2" && mount --bind "$1" "$2" && shift 2 || exit 71; done
shift
exec "$@"
"""


def why_not() -> str:
    """Return why hosts cannot be made here; empty if they can."""
    if os.geteuid() != 0:
        return "it needs root"
    missing = [tool for tool in ("ip", "tc", "iptables", "unshare", "setpriv") if shutil.which(tool) is None]
    if missing:
        return f"it needs {', '.join(missing)} (iproute2, iptables, util-linux)"
    probe = f"penstock-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", probe], check=False)
    return ""


def call(*command: str) -> str:
    """Run a tool; return what it said, or raise AssertionError with that."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert 0 == done.returncode, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


class Job:
    """A process on a host."""

    def __init__(self, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        """Wait until the process itself runs, behind what made its namespaces."""
        self._popen, self.log = popen, log
        found = until(self._find, f"{log.stem} to start")
        assert found
        self.inner = found

    def _find(self) -> psutil.Process | None:
        with suppress(psutil.Error):
            return next(iter(psutil.Process(self._popen.pid).children()), None)
        return None

    @property
    def said(self) -> str:
        """Return all that it has said so far, in whole lines: it may be writing one right now."""
        text = self.log.read_text(errors="replace")
        return text[: text.rfind("\n") + 1]

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._popen.stdin
        self._popen.stdin.write(line.encode() + b"\n")
        self._popen.stdin.flush()

    def send_term(self) -> None:
        """Ask it to leave."""
        self.inner.terminate()

    def wait(self, seconds: float = 60.0) -> int:
        """Return its exit status. Raises subprocess.TimeoutExpired."""
        return self._popen.wait(seconds)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def kill(self) -> None:
        """End it; return once it is gone, and with it its ports: what made its namespaces ends after it."""
        with suppress(psutil.Error):
            self.inner.kill()
        try:
            self._popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        if self._popen.stdin:
            with suppress(OSError):
                self._popen.stdin.close()


class Host:
    """One host: a namespace with an interface `eth0` and an address, plugged into the switch."""

    def __init__(self, lab: "Lab", name: str, number: int) -> None:
        """Make it and plug it in."""
        self._lab, self.name, self._port, self._number = lab, name, f"port{number}", number
        self._namespace = f"{lab.prefix}-{name}"
        self.address, self.address6 = f"{_NET}{number}", f"{_NET6}{number}"
        #: Since when it pretends to run: no two hosts agree on what a monotonic clock says.
        self._uptime_s = 86_400 * number
        call("ip", "netns", "add", self._namespace)
        lab.namespaces.append(self._namespace)
        peer = ["peer", "name", self._port, "netns", lab.switch]
        self.ip("link", "add", "eth0", "type", "veth", *peer)
        lab.ip("link", "set", self._port, "master", "switch", "up")
        self.ip("link", "set", "lo", "up")
        self.ip("address", "add", f"{self.address}/24", "dev", "eth0")
        self.ip("address", "add", f"{self.address6}/64", "dev", "eth0", "nodad")
        self.ip("link", "set", "eth0", "up")

    def ip(self, *arguments: str) -> str:
        """Call `ip` here."""
        return call("ip", "-n", self._namespace, *arguments)

    def join_second(self) -> str:
        """Plug this host into the second network as well, by `eth1`; return its address there."""
        port = f"{self._port}b"
        self.ip("link", "add", "eth1", "type", "veth", "peer", "name", port, "netns", self._lab.switch)
        self._lab.ip("link", "set", port, "master", "second", "up")
        self.ip("address", "add", f"{_NET_TWO}{self._number}/24", "dev", "eth1")
        self.ip("link", "set", "eth1", "up")
        return f"{_NET_TWO}{self._number}"

    def received(self, interface: str) -> int:
        """Return the bytes that came in by an interface."""
        return int(self.run("cat", f"/sys/class/net/{interface}/statistics/rx_bytes"))

    def run(self, *command: str) -> str:
        """Run a tool here."""
        return call("ip", "netns", "exec", self._namespace, *command)

    def filter(self, *rule: str) -> None:
        """Add a rule to what this host's packets must pass: `filter("OUTPUT", "-p", "tcp", …, "-j", "DROP")`."""
        self.run("iptables", "-w", "-A", *rule)

    def open(self) -> None:
        """Take all rules away."""
        self.run("iptables", "-w", "-F")

    def dropped(self) -> int:
        """Return how many packets the rules have dropped so far."""
        rules = [line.split() for line in self.run("iptables", "-w", "-nvxL").splitlines()]
        return sum(int(fields[0]) for fields in rules if fields[2:3] == ["DROP"])

    def plug(self, *, into_switch: bool) -> None:
        """Pull the cable out, or put it back."""
        self._lab.ip("link", "set", self._port, "up" if into_switch else "down")

    def ask_names_at(self, address: str) -> None:
        """Let processes that start here from now on ask a name server for names, after the files of this machine."""
        folder = _OWN_FILES / self._namespace
        self._lab.folders.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "resolv.conf").write_text(f"nameserver {address}\n")
        (folder / "nsswitch.conf").write_text("hosts: files dns\n")

    def slow(self, rate: str, latency: str = "400ms") -> None:
        """Let no more than `rate` ("2mbit") pass in each direction, behind a queue of `latency`."""
        shape = ["root", "tbf", "rate", rate, "burst", "16kb", "latency", latency]
        self.run("tc", "qdisc", "add", "dev", "eth0", *shape)
        call("tc", "-n", self._lab.switch, "qdisc", "add", "dev", self._port, *shape)

    def ports(self, *services: int) -> set[str]:
        """Return this host's own ports of its connections to ports of services."""
        lines = [line.split() for line in self.run("ss", "-Htn", "state", "established").splitlines()]
        return {line[2].rpartition(":")[2] for line in lines if int(line[3].rpartition(":")[2]) in services}

    def forget(self, *services: int) -> int:
        """Drop all further packets of the connections that exist, as a NAT does that forgot them; return how many."""
        ports = self.ports(*services)
        for port in ports:
            self.filter("OUTPUT", "-p", "tcp", "--sport", port, "-j", "DROP")
            self.filter("INPUT", "-p", "tcp", "--dport", port, "-j", "DROP")
        return len(ports)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        mounts: Mapping[Path, Path] | None = None,
    ) -> Job:
        """Start a process here; `mounts` shows it folders (values) at other places (keys)."""
        inside = [str(path) for target, source in (mounts or {}).items() for path in (source, target)]
        own = ["--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--time"]
        own += [f"--monotonic={self._uptime_s}", f"--boottime={self._uptime_s}"]
        enter = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "ip",
            "netns",
            "exec",
            self._namespace,
            "unshare",
            *own,
            "sh",
            "-c",
            _ENTER,
            self.name,
        ]
        log = self._lab.folder / f"{self.name}-{name}.log"
        with log.open("ab") as file:
            popen = subprocess.Popen(
                [*enter, *inside, "--", *command],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(env or {}),
                start_new_session=True,
            )
        self._lab.popens.append(popen)
        job = Job(popen, log)
        self._lab.jobs.append(job)
        return job


class Lab:
    """A switch with two networks, and the hosts at it; all of it goes when the block ends."""

    def __init__(self, folder: Path, prefix: str) -> None:
        """Make the switch; logs go to `folder`. `prefix` tells this lab's namespaces from others'."""
        self.folder, self.prefix, self.switch = folder, prefix, f"{prefix}-switch"
        self.namespaces: list[str] = []
        self.popens: list[subprocess.Popen[bytes]] = []
        self.jobs: list[Job] = []
        #: Folders of files that hosts have of their own.
        self.folders: list[Path] = []

    def __enter__(self) -> Self:
        """Make the switch."""
        call("ip", "netns", "add", self.switch)
        self.namespaces.append(self.switch)
        for bridge in ("switch", "second"):
            self.ip("link", "add", bridge, "type", "bridge")
            self.ip("link", "set", bridge, "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process, then every namespace. What each said last stands in the report of a test that failed."""
        for job in self.jobs:
            job.kill()
            print(f"--- {job.log.stem}", *job.said.splitlines()[-20:], sep="\n")  # noqa: T201 - pytest shows it then
        for popen in self.popens:
            popen.kill()
            popen.wait()
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "delete", namespace], check=False)
        for folder in self.folders:
            shutil.rmtree(folder)

    def ip(self, *arguments: str) -> str:
        """Call `ip` at the switch."""
        return call("ip", "-n", self.switch, *arguments)

    def host(self, name: str) -> Host:
        """Plug one more host in."""
        return Host(self, name, len(self.namespaces))
