"""Names of services within a cluster: dnsmasq, told what endpoints the API server knows, as soon as they change.

It stands in for CoreDNS, which Debian has no package of. It answers the names that pods of the cluster ask for:
SERVICE.NAMESPACE.svc.cluster.local, and POD.SERVICE.… of a headless service, with the addresses of its pods.
"""

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
from kubernetes.namespaces import Namespaces
from support.streams import until

#: Seconds after which the API server ends a watch, which is then begun anew.
_WATCH_S = 300
_ENDPOINTS = f"/api/v1/endpoints?watch=1&timeoutSeconds={_WATCH_S}"


class ClusterDns:
    """A running name server; a context manager."""

    def __init__(self, room: Namespaces, administrator: Path, address: str) -> None:
        """Start nothing. It listens on an address of `room`."""
        self._room, self._address = room, address
        self._watch = [*room.entering("net"), "kubectl", "--kubeconfig", str(administrator), "get", "--raw", _ENDPOINTS]
        self._hosts = room.folder / "hosts"
        self._known: dict[str, list[str]] = {}
        self._watching: subprocess.Popen[str] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="cluster-dns")

    def __enter__(self) -> Self:
        """Start it, without a name."""
        self._hosts.write_text("", encoding="utf-8")
        self._room.start(
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
            "--log-facility=-",
            "--no-resolv",
            "--no-hosts",
            f"--addn-hosts={self._hosts}",
            "--local=/cluster.local/",
            "--bind-interfaces",
            f"--listen-address={self._address}",
        )
        until(lambda: "started" in self._room.log("dnsmasq"), "dnsmasq")  # before that, SIGHUP ends it
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no longer; the server ends with its namespaces."""
        self._ended.set()
        if self._watching is not None:
            self._watching.terminate()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.is_set():
            environment = dict(os.environ) | {"PATH": self._room.path}
            with subprocess.Popen(self._watch, env=environment, stdout=subprocess.PIPE, text=True) as self._watching:
                assert self._watching.stdout is not None
                if self._ended.is_set():
                    self._watching.terminate()
                for line in self._watching.stdout:
                    self._heed(json.loads(line))

    def _heed(self, event: dict[str, Any]) -> None:
        found = event["object"]
        if event["type"] not in ("ADDED", "MODIFIED", "DELETED"):
            return
        name = f"{found['metadata']['name']}.{found['metadata']['namespace']}.svc.cluster.local"
        addresses = [each for subset in found.get("subsets", ()) for each in subset.get("addresses", ())]
        lines = [f"{each['ip']} {name}" for each in addresses]
        lines += [f"{each['ip']} {each['hostname']}.{name}" for each in addresses if "hostname" in each]
        before = self._known.get(name, [])
        self._known[name] = [] if event["type"] == "DELETED" else lines
        if before == self._known[name]:
            return
        beside = self._hosts.with_suffix(".new")
        beside.write_text("".join(f"{line}\n" for known in self._known.values() for line in known), encoding="utf-8")
        beside.replace(self._hosts)
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._room.started["dnsmasq"].pid).children():
                child.send_signal(signal.SIGHUP)  # it reads the file anew
