"""A node of a cluster: containerd and kubelet in namespaces of their own, with an address and a range for their pods.

A node sees the machine's files, but for /run, /var/lib and /var/log, which are its own.
"""

import json
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

import psutil
from kubernetes.certificates import Certificates
from kubernetes.namespaces import Namespaces
from support.streams import until

_CONTAINERD = """
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "k8s.gcr.io/pause:3.2"
# Who is in a container or sandbox itself may not save its own from the out-of-memory killer.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{programs}/usr/lib/cni"
conf_dir = "{folder}/cni"
"""
#: Times (s) of a kubelet that tells of its pods sooner than usual.
_KUBELET = {
    "kind": "KubeletConfiguration",
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "clusterDomain": "cluster.local",
    "cgroupsPerQOS": False,
    "enforceNodeAllocatable": [],
    "evictionHard": {"memory.available": "50Mi"},  # not for want of space on the machine's disk
    "failSwapOn": False,
    "imageGCHighThresholdPercent": 100,
    "makeIPTablesUtilChains": False,
    "nodeStatusUpdateFrequency": "2s",
    "readOnlyPort": 0,
    "syncFrequency": "5s",
}
#: Control groups, by controller or as one tree: containers' are below `k8s.io`.
_GROUPS = Path("/sys/fs/cgroup")


class Node:
    """A node; a context manager that leaves nothing behind."""

    def __init__(self, room: Namespaces, number: int, programs: Path, certificates: Certificates) -> None:
        """Start nothing. `room` holds the control plane and the bridge `nodes`."""
        self.name, self.address = f"node-{number}", f"10.213.0.{10 + number}"
        self._range = f"10.213.{number}.0/24"
        self._room, self._programs, self._certificates = room, programs, certificates
        self.machine = Namespaces(
            self.name, room.folder / self.name, programs / "bin" / "pause", room.path, inside=room
        )

        self._containers: set[str] = set()

    def __enter__(self) -> Self:
        """Start the node; return when containerd answers, and before the node is ready."""
        self.machine.__enter__()
        try:
            self._connect()
            self._mount()
            self._start_containerd()
            self._start_kubelet()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it with all its pods, as a power cut does."""
        with suppress(AssertionError):  # it is not there, or does not answer
            self._containers |= set(self._ctr("containers", "list", "--quiet").split())
        self.machine.__exit__()
        for name in self._containers:
            for group in (_GROUPS / "k8s.io" / name, *_GROUPS.glob(f"*/k8s.io/{name}")):
                with suppress(FileNotFoundError):
                    until(partial(_is_empty, group), f"{group} to be empty")
                    group.rmdir()

    def take(self, images: Path) -> None:
        """Take images from an archive of `docker save`, in place of a registry."""
        self._ctr("images", "import", images, seconds=600)

    def processes(self, pod: str) -> list[psutil.Process]:
        """Return the processes of a pod's containers, without the one that holds its network."""
        listed = self._ctr("containers", "list", "--quiet", f'labels."io.kubernetes.pod.name"=={pod}').split()
        found = [each for each in psutil.process_iter() if any(name in _groups_of(each) for name in listed)]
        return [each for each in found if each.name() != "pause"]

    def _ctr(self, *arguments: str | Path, seconds: float = 120) -> str:
        return self.machine.run("ctr", "--namespace", "k8s.io", *arguments, seconds=seconds)

    def _connect(self) -> None:
        ends = ["ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(self.machine.pid)]
        self._room.run(*ends, kinds=("net",))
        self._room.run("ip", "link", "set", self.name, "master", "nodes", "up")
        for command in (
            f"ip address add {self.address}/24 dev eth0",
            "ip link set eth0 up",
            "ip route add default via 10.213.0.1",
        ):
            self.machine.run(*command.split())
        self._room.run("ip", "route", "add", self._range, "via", self.address)

    def _mount(self) -> None:
        self.machine.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        for name in ("lib", "log"):
            own = self.machine.folder / name
            own.mkdir()
            self.machine.run("mount", "--bind", own, f"/var/{name}")

    def _start_containerd(self) -> None:
        folder = self.machine.folder
        bridge = {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": self._range}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }
        (folder / "cni").mkdir()
        network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
        (folder / "cni" / "pods.conflist").write_text(json.dumps(network), encoding="utf-8")
        settings = folder / "containerd.toml"
        settings.write_text(_CONTAINERD.format(programs=self._programs / "debian", folder=folder), encoding="utf-8")
        self.machine.start("containerd", "--config", settings)
        self.machine.until(("ctr", "version"), "containerd")
        self.take(self._programs / "pause.tar")

    def _start_kubelet(self) -> None:
        folder = self.machine.folder
        hosts = (f"DNS:{self.name}", f"IP:{self.address}")
        certificate, key = self._certificates.make(f"{self.name}-server", f"/CN={self.name}", *hosts)
        user = self._certificates.configuration(self.name, f"/O=system:nodes/CN=system:node:{self.name}")
        (folder / "resolv.conf").write_text("", encoding="utf-8")
        known = {
            "authentication": _KUBELET["authentication"]
            | {"x509": {"clientCAFile": str(self._certificates.authority)}},  # type: ignore[operator]
            "clusterDNS": ["10.213.0.1"],
            "resolvConf": str(folder / "resolv.conf"),
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "volumePluginDir": "/var/lib/kubelet-plugins",
        }
        settings = folder / "kubelet.json"
        settings.write_text(json.dumps(_KUBELET | known), encoding="utf-8")
        self.machine.start(
            "kubelet",
            f"--config={settings}",
            f"--kubeconfig={user}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
            "--container-runtime=remote",
            "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
            "--root-dir=/var/lib/kubelet",
        )


def _is_empty(group: Path) -> bool:
    return not (group / "cgroup.procs").read_text()


def _groups_of(process: psutil.Process) -> str:
    try:
        return Path(f"/proc/{process.pid}/cgroup").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""
