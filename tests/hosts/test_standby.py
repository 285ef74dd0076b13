"""Two ventilators on two hosts: the host of the one that acts is lost, and the other one serves all others."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hosts.cluster import Cluster
from hosts.conftest import BATCHES
from hosts.lab import call
from support.streams import until

from penstock.protocol.runtime.health import fetch
from penstock.protocol.snapshot import Snapshot, Standby

pytestmark = pytest.mark.hosts

HOSTS = ("ventilator", "standby")
#: The times by which losses are noticed where nobody sets any.
_DEFAULTS = {"heartbeat_s": 1.0, "silence_s": 5.0}


def standing(cluster: Cluster, host: str) -> Standby:
    """Return what a ventilator says of itself and the other one."""
    seen = Snapshot.model_validate_json(fetch(str(cluster.lab.folder / f"{host}.sock"), "/status", 60.0)[1])
    assert seen.standby is not None
    return seen.standby


def start(cluster: Cluster, folder: Path, wrapped: Callable[[str], Sequence[str]] = lambda _: ()) -> tuple[str, str]:
    """Start all parts, two ventilators among them; return the host of the one that acts, and the other one."""
    cluster.add("standby", "ventilator")
    for host in HOSTS:
        cluster.start_ventilator(host, wrapped(host), standby=folder, **_DEFAULTS)
    cluster.start_sink()
    for name in ("a", "b"):
        cluster.add(name, "worker")
        cluster.start_worker(name)
    cluster.start_trainer()
    cluster.read(5)
    [first] = until(lambda: [host for host in HOSTS if _has_all(cluster, host)], "one to act, and to have all others")
    until(lambda: standing(cluster, first).is_watched, "the other one to be known to wait")
    [other] = {*HOSTS} - {first}
    return first, other


def follow(cluster: Cluster, first: str, other: str) -> None:
    """Pull the cable out; wait until all follow the other one. The first may not act once that does."""
    since = time.monotonic()
    cluster.hosts[first].plug(into_switch=False)
    until(lambda: cluster.status(other).get("acting"), "the other one to act")
    assert not cluster.status(first).get("acting"), "two act"
    acts_s = time.monotonic() - since
    until(lambda: _has_all(cluster, other), "two workers and the sink to follow")
    follows_s = time.monotonic() - since
    print(f"cable pulled: the other one acts after {acts_s:.1f} s, all follow after {follows_s:.1f} s")  # noqa: T201
    assert not cluster.status(first).get("acting"), "two act"


def waits_once_back(cluster: Cluster, first: str, other: str) -> None:
    """Put the cable back: the first one waits for its turn."""
    cluster.hosts[first].plug(into_switch=True)
    until(lambda: standing(cluster, other).is_watched, "the first one to wait for its turn")
    assert not standing(cluster, first).acting


def _has_all(cluster: Cluster, host: str) -> bool:
    seen = cluster.status(host)
    return bool(seen.get("acting") and seen.get("sink") and seen.get("workers") == 2)


def test_a_host_that_is_lost_with_its_folder_in_reach_hands_over(cluster: Cluster, reference: str) -> None:
    """The folder lies in another network, so that its record could be renewed for ever; but nobody reaches it."""
    (folder := cluster.lab.folder / "records").mkdir()
    first, other = start(cluster, folder)
    cluster.ask(BATCHES - 5)
    follow(cluster, first, other)
    assert {"batches": BATCHES, "digest": reference} == cluster.answer()
    assert "no worker and no sink reached it" in cluster.jobs[first].said
    waits_once_back(cluster, first, other)


def test_a_host_that_is_lost_with_its_folder_fences_itself(cluster: Cluster, reference: str) -> None:
    """The folder is on a file server (sshfs): its calls hang on the lost host, which stops by its own clock."""
    store = FileServer(cluster)
    first, other = start(cluster, store.mounted, store.mounting)
    cluster.ask(BATCHES - 5)
    follow(cluster, first, other)
    assert {"batches": BATCHES, "digest": reference} == cluster.answer()
    until(lambda: "not renewed" in cluster.jobs[first].said, "the lost one to say why it stopped")
    waits_once_back(cluster, first, other)


def test_a_file_server_that_is_lost_stops_all_and_they_go_on(cluster: Cluster, reference: str) -> None:
    """None acts without records; once the server is back one does, and no sample is lost or comes twice."""
    store = FileServer(cluster)
    first, other = start(cluster, store.mounted, store.mounting)
    cluster.hosts["store"].plug(into_switch=False)
    until(lambda: not cluster.status(first).get("acting"), "the one that acted to stop")
    assert not cluster.status(other).get("acting")
    cluster.ask(BATCHES - 5)
    cluster.hosts["store"].plug(into_switch=True)
    assert {"batches": BATCHES, "digest": reference} == cluster.answer(120.0)
    assert 1 == len(until(lambda: [host for host in HOSTS if cluster.status(host).get("acting")], "one to act"))


class FileServer:
    """A host with a folder that others mount over the network, with the tools' own defaults for what they cache."""

    def __init__(self, cluster: Cluster) -> None:
        """Start the server. Skips where sshfs is not installed."""
        if missing := [tool for tool in ("sshfs", "sshd", "ssh-keygen") if shutil.which(tool) is None]:
            pytest.skip(
                f"NOT TESTED WITH A FILE SERVER: {', '.join(missing)} (sshfs, openssh-server) are not installed"
            )
        if not Path("/dev/fuse").exists():
            pytest.skip("NOT TESTED WITH A FILE SERVER: this kernel has no /dev/fuse, which sshfs mounts by")
        here = cluster.lab.folder / "store"
        (here / "records").mkdir(parents=True)
        Path("/run/sshd").mkdir(exist_ok=True)
        for name in ("server", "client"):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(here / name))
        lines = {
            "Port": "2222",
            "HostKey": here / "server",
            "AuthorizedKeysFile": here / "client.pub",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
            "Subsystem": "sftp internal-sftp",
        }
        (here / "sshd.conf").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        self._store, self._here = cluster.add("store", "sink"), here
        #: Where each host sees the folder.
        self.mounted = here / "mounted"
        self.mounted.mkdir()
        self._store.start("sshd", [shutil.which("sshd") or "", "-D", "-e", "-f", str(here / "sshd.conf")])
        until(lambda: ":2222" in self._store.run("ss", "-Hltn"), "the file server to listen")

    def mounting(self, host: str) -> Sequence[str]:
        """Return a command that mounts the folder, for itself and what it runs."""
        del host
        options = (
            f"IdentityFile={self._here / 'client'},StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,reconnect"
        )
        options += ",ServerAliveInterval=1,ServerAliveCountMax=3"
        source = f"root@{self._store.address}:{self._here / 'records'}"
        script = f'sshfs -p 2222 -o {options} {source} {self.mounted} && exec "$@"'
        return ["sh", "-c", script, "sh"]
