"""A Kubernetes cluster on this machine, of what `build.sh` made: a control plane and nodes, in namespaces of their own.

What is replaced: names of services are answered by dnsmasq, which is told the endpoints that the API server knows, in
place of CoreDNS (cluster_dns.py); there is no kube-proxy, since no pod uses an address of a service. Network policies
are kept and not enforced: the plugin `bridge` does not know them. This version has no Pod Security admission: a
PodSecurityPolicy that says the same as "restricted" stands in for it, and is enforced.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import yaml  # type: ignore[import-untyped]
from kubernetes.certificates import Certificates
from kubernetes.cluster_dns import ClusterDns
from kubernetes.namespaces import COMMAND_S, Namespaces
from kubernetes.node import Node
from support.streams import until

#: Where build.sh put what it made.
VERSION = "1.20.2"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "penstock" / f"kubernetes-{VERSION}"
PROGRAMS = Path(os.environ.get("PENSTOCK_KUBERNETES", _CACHE))
#: Where the API server and the name server are, and the addresses of services, which nobody uses.
_ADDRESS, _SERVICES, _API = "10.213.0.1", "10.96.0.0/16", "10.96.0.1"
#: Other programs that must be here.
_NEEDED = ("dnsmasq", "openssl", "nsenter", "unshare", "setpriv", "ip", "mount")


class Cluster:
    """A running cluster; a context manager that leaves nothing behind."""

    def __init__(self, folder: Path, nodes: int) -> None:
        """Start nothing."""
        folders = [PROGRAMS / "bin", *(PROGRAMS / "debian" / "usr" / name for name in ("bin", "sbin"))]
        path = os.pathsep.join([*map(str, folders), os.environ["PATH"], "/usr/sbin", "/sbin"])
        self._room = Namespaces(f"penstock-{os.getpid()}", folder, PROGRAMS / "bin" / "pause", path)
        self._ends = ExitStack()
        self.nodes: dict[str, Node] = {}
        self._count = nodes

    def __enter__(self) -> Self:
        """Start everything; return when all nodes are ready."""
        try:
            self._start()
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self._ends.close()

    def kubectl(self, *arguments: str | Path, given: str = "", check: bool = True, seconds: float = COMMAND_S) -> str:
        """Run `kubectl …` as the administrator; return what it said. With `check`, AssertionError if it fails."""
        command = ("kubectl", "--kubeconfig", self._administrator, *arguments)
        return self._room.run(*command, kinds=("net",), given=given, check=check, seconds=seconds)

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return what `kubectl get …` finds."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "--output=json"))
        return found

    def apply(self, objects: str | Iterable[dict[str, Any]]) -> None:
        """Apply objects, or a text of them in YAML."""
        self.kubectl("apply", "-f", "-", given=objects if isinstance(objects, str) else yaml.safe_dump_all(objects))

    def take(self, images: Path) -> None:
        """Give all nodes images from an archive of `docker save`."""
        for node in self.nodes.values():
            node.take(images)

    def lose(self, node: str) -> None:
        """Let a node lose its power: nothing of it runs on, and nobody is told."""
        self.nodes.pop(node).__exit__()

    def start_adapter(self, port: int) -> None:
        """Start the adapter of external metrics at a port of the control plane, unless it runs."""
        if "external_metrics" not in self._room.started:
            program = Path(__file__).with_name("external_metrics.py")
            files = self._certificates.make("external-metrics", "/CN=external-metrics")
            asks = ("kubectl", "--kubeconfig", self._administrator)
            self._room.start(sys.executable, program, str(port), *files, *asks, name="external_metrics")

    def _start(self) -> None:
        self._ends.enter_context(self._room)
        for command in (
            "ip link add nodes type bridge",
            f"ip address add {_ADDRESS}/24 dev nodes",
            "ip link set nodes up",
            "sysctl --quiet --write net.ipv4.ip_forward=1",  # between the nodes' pods
        ):
            self._room.run(*command.split())
        server = f"https://{_ADDRESS}:6443"
        certificates = self._certificates = Certificates(self._room.folder / "certificates", server)
        self._administrator = certificates.configuration("administrator", "/O=system:masters/CN=administrator")
        self._start_server(certificates)
        for part, more in (
            ("controller-manager", _of_controllers(certificates)),
            ("scheduler", ()),
        ):
            user = certificates.configuration(part, f"/CN=system:kube-{part}")
            options = (f"--kubeconfig={user}", "--leader-elect=false", "--port=0", *more)
            self._room.start(f"kube-{part}", *options)
        self.apply(_RESTRICTED)
        self._ends.enter_context(ClusterDns(self._room, self._administrator, _ADDRESS))
        for number in range(1, self._count + 1):
            node = Node(self._room, number, PROGRAMS, certificates)
            self.nodes[node.name] = self._ends.enter_context(node)
        until(self._are_ready, f"all nodes to be ready; see {self._room.folder}", COMMAND_S)

    def _start_server(self, certificates: Certificates) -> None:
        data = f"--data-dir={self._room.folder}/etcd"
        self._room.start("etcd", data, "--listen-peer-urls=http://127.0.0.1:2380")
        made = {
            "tls": certificates.make("server", "/CN=kube-apiserver", f"IP:{_ADDRESS}", f"IP:{_API}", "DNS:kubernetes"),
            "kubelet-client": certificates.make("kubelet-client", "/O=system:masters/CN=kube-apiserver"),
            "proxy-client": certificates.make("aggregator", "/CN=aggregator"),
        }
        ends = {"tls": ("cert-file", "private-key-file"), "kubelet-client": ("certificate", "key")}
        files = [
            f"--{name}-{end}={file}"
            for name, pair in made.items()
            for end, file in zip(ends.get(name, ("cert-file", "key-file")), pair, strict=True)
        ]
        self._room.start(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={_ADDRESS}",
            f"--service-cluster-ip-range={_SERVICES}",
            f"--client-ca-file={certificates.authority}",
            "--authorization-mode=Node,RBAC",
            "--kubelet-preferred-address-types=InternalIP",
            "--enable-admission-plugins=NodeRestriction,PodSecurityPolicy",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={certificates.accounts}",
            f"--service-account-signing-key-file={certificates.accounts}",
            f"--requestheader-client-ca-file={certificates.authority}",
            "--requestheader-allowed-names=aggregator",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--enable-aggregator-routing",  # to endpoints themselves: there is no kube-proxy
            *files,
        )
        ready = ("kubectl", "--kubeconfig", self._administrator, "get", "--raw", "/readyz")
        self._room.until(ready, "kube-apiserver")

    def _are_ready(self) -> bool:
        for machine in (self._room, *(node.machine for node in self.nodes.values())):
            for name, process in machine.started.items():
                assert process.poll() is None, f"{name} has ended: {machine.log(name)[-3000:]}"
        conditions = [node["status"].get("conditions", []) for node in self.get("nodes")["items"]]
        ready = [any(each["type"] == "Ready" and each["status"] == "True" for each in known) for known in conditions]
        return ready.count(True) == self._count


#: What the standard "restricted" admits, for every pod of the namespace `penstock`; elsewhere nothing runs.
_RESTRICTED = """
apiVersion: policy/v1beta1
kind: PodSecurityPolicy
metadata:
  name: restricted
  annotations: { seccomp.security.alpha.kubernetes.io/allowedProfileNames: runtime/default }
spec:
  privileged: false
  allowPrivilegeEscalation: false
  requiredDropCapabilities: [ALL]
  volumes: [configMap, downwardAPI, emptyDir, persistentVolumeClaim, projected, secret]
  hostNetwork: false
  hostPID: false
  hostIPC: false
  runAsUser: { rule: MustRunAsNonRoot }
  seLinux: { rule: RunAsAny }
  fsGroup: { rule: MustRunAs, ranges: [{ min: 1, max: 65535 }] }
  supplementalGroups: { rule: MustRunAs, ranges: [{ min: 1, max: 65535 }] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: restricted }
rules: [{ apiGroups: [policy], resources: [podsecuritypolicies], resourceNames: [restricted], verbs: [use] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: restricted }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: restricted }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: Group, name: system:serviceaccounts }]
"""


def _of_controllers(certificates: Certificates) -> tuple[str, ...]:
    """Return options of the controller manager, with which a lost node and a wanted worker are noticed in seconds."""
    return (
        f"--root-ca-file={certificates.authority}",
        f"--service-account-private-key-file={certificates.accounts}",
        "--use-service-account-credentials",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=12s",
        "--horizontal-pod-autoscaler-sync-period=3s",
    )


def missing() -> str:
    """Return why there can be no cluster here, or nothing."""
    if os.geteuid():
        return "it needs root"
    if absent := [
        name for name in _NEEDED if not shutil.which(name) and not shutil.which(name, path="/usr/sbin:/sbin")
    ]:
        return f"these programs are not here: {', '.join(absent)} (Debian: dnsmasq-base, openssl, util-linux, iproute2)"
    if not (PROGRAMS / "complete").exists():
        return f"there is no build of Kubernetes in {PROGRAMS}: run tests/kubernetes/build.sh"
    return ""
