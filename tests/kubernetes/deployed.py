"""Penstock on a cluster, as docs/kubernetes.md says it: a user's own overlay is applied, and trainers are pods."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import yaml  # type: ignore[import-untyped]
from kubernetes.cluster import Cluster
from kubernetes.namespaces import COMMAND_S
from support.streams import until

from penstock.commands.keys import main as keys

#: Tags of the images; the second one of the worker holds the same under another identity.
TAG, NEXT_TAG = "kubernetes", "kubernetes-next"
PARTS = ("ventilator", "sink", "worker")
#: What fits two nodes of two cores that do other work, and logs that a test can read.
_OWN = """
resources: [../overlays/kubernetes-1.20, volume.yaml]
namespace: penstock
images:
  - { name: penstock-ventilator, newTag: %(tag)s }
  - { name: penstock-sink, newTag: %(tag)s }
  - { name: penstock-worker, newTag: %(tag)s }
patches:
  - target: { kind: (Deployment|StatefulSet) }
    patch: |-
      - { op: replace, path: /spec/template/spec/containers/0/resources/requests/cpu, value: 50m }
      - { op: add, path: /spec/template/spec/containers/0/env/-, value: { name: PENSTOCK_LOG_STYLE, value: json } }
"""
_TRAINER = """
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: %(name)s, namespace: penstock }
spec:
  serviceName: %(name)s
  selector: { matchLabels: { trainer: %(name)s } }
  template:
    metadata: { labels: { trainer: %(name)s, penstock.io/trainer: "true" } }
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 2
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: { type: RuntimeDefault }
      containers:
        - name: trainer
          image: penstock-sink:%(tag)s
          command: [python, /program/stepping_trainer.py]
          args: [/recorded/%(name)s, "tcp://%(sink)s.penstock:5557", "%(rank)d", "%(ranks)d"]
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
          volumeMounts:
            - { name: program, mountPath: /program }
            - { name: keys, mountPath: /run/penstock, readOnly: true }
            - { name: recorded, mountPath: /recorded }
            - { name: scratch, mountPath: /tmp }
      volumes:
        - { name: program, configMap: { name: trainer-program } }
        - { name: keys, secret: { secretName: trainer-keys, defaultMode: 0440 } }
        - { name: recorded, persistentVolumeClaim: { claimName: recorded } }
        - { name: scratch, emptyDir: {} }
"""


class Deployed:
    """The stack of a cluster."""

    def __init__(self, root: Path, cluster: Cluster, folder: Path, spec: Path, images: Path) -> None:
        """Apply the overlay; return when all of it is ready."""
        self.cluster, self.recorded = cluster, folder / "recorded"
        self.recorded.mkdir()
        self.recorded.chmod(0o777)
        files = folder / "kubernetes"
        shutil.copytree(root / "deploy" / "kubernetes", files)
        shutil.copy(spec, files / "base" / "spec.toml")
        (files / "base" / "keys").mkdir(mode=0o700)
        assert 0 == keys(["init", str(folder / "keys")])
        for part in (*PARTS, "trainer"):
            bundle = str(files / "base" / "keys" / f"{part}.keys")
            assert 0 == keys(["export", part, bundle, "--bundle", "--keys", str(folder / "keys")])
        own = files / "own"
        own.mkdir()
        (own / "kustomization.yaml").write_text(_OWN % {"tag": TAG}, encoding="utf-8")
        program = (root / "tests" / "kubernetes" / "stepping_trainer.py").read_text(encoding="utf-8")
        volumes = [
            *_volume("images", images, "ReadOnlyMany"),
            *_volume("recorded", self.recorded, "ReadWriteMany"),
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "trainer-program"},
                "data": {"stepping_trainer.py": program},
            },
        ]
        (own / "volume.yaml").write_text(yaml.safe_dump_all(volumes[:1] + volumes[2:]), encoding="utf-8")
        # kustomize of a newer kubectl than the cluster's: that of 1.20 does not know the field `labels`.
        built = subprocess.run(
            ["kubectl", "kustomize", str(own)], capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
        assert 0 == built.returncode, built.stderr
        cluster.apply(built.stdout)
        self.rolled_out()

    def kubectl(self, *arguments: str, **options: Any) -> str:
        """Run `kubectl --namespace penstock …`; return what it said."""
        return self.cluster.kubectl("--namespace=penstock", *arguments, **options)

    def rolled_out(self, *parts: str) -> None:
        """Wait until the pods of parts are those that are wanted, and ready."""
        for part in parts or PARTS:
            kind = "deployment" if "worker" == part else "statefulset"
            self.kubectl("rollout", "status", f"{kind}/{part}", "--timeout=180s", seconds=200)

    def scale(self, workers: int) -> None:
        """Have a number of workers; return when they are there, have joined, and no other one is left."""
        self.kubectl("scale", "deployment/worker", f"--replicas={workers}")
        until(lambda: workers == len(self.pods("worker")), f"{workers} pods of workers", COMMAND_S)
        self.rolled_out("worker")
        self.joined(workers)

    def pods(self, part: str) -> list[dict[str, Any]]:
        """Return the pods of a part, those that are being ended too."""
        found = self.cluster.get("pods", "--namespace=penstock", f"--selector=app.kubernetes.io/component={part}")
        return list(found["items"])

    def pod(self, part: str) -> str:
        """Return the name of a part's first pod."""
        return str(self.pods(part)[0]["metadata"]["name"])

    def joined(self, workers: int) -> None:
        """Wait until so many workers, and no others, are those of the ventilator, by its metrics."""
        until(
            lambda: f"\npenstock_ventilator_workers {workers}.0\n" in self._metrics(), f"{workers} workers", COMMAND_S
        )

    def _metrics(self) -> str:
        page = "/api/v1/namespaces/penstock/pods/ventilator-0:8080/proxy/metrics"
        return self.cluster.kubectl("get", "--raw", page, check=False)

    def events(self, part: str, event: str) -> list[dict[str, Any]]:
        """Return the log lines of a part's first pod that tell of an event."""
        lines = self.kubectl("logs", self.pod(part)).splitlines()
        return [line for line in map(json.loads, lines) if line.get("event") == event]


class Trainer:
    """A trainer in a pod, which takes a batch when it may; a context manager that ends it."""

    def __init__(self, deployed: Deployed, name: str, sink: str = "sink", rank: int = 0, ranks: int = 1) -> None:
        """Start it, as one of `ranks`, at the first batch of the first epoch. `sink` is a name within the namespace."""
        self.name, self._deployed, self._folder = name, deployed, deployed.recorded / name
        self._folder.mkdir()
        self._folder.chmod(0o777)
        self.want(0)
        named = {"name": name, "sink": sink, "rank": rank, "ranks": ranks}
        deployed.cluster.apply(_TRAINER % {"tag": TAG, **named})

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._deployed.kubectl("delete", "statefulset", self.name, "--wait=false", check=False)

    def take(self, batches: int, seconds: float = COMMAND_S) -> None:
        """Let it take so many more; return when it has."""
        self.want(len(self.taken()) + batches)
        self.wait(seconds)

    def wait(self, seconds: float = COMMAND_S) -> None:
        """Return when it has taken what it may."""
        until(lambda: self._wanted <= len(self.taken()), f"{self._wanted} batches of {self.name}", seconds)

    def taken(self) -> list[str]:
        """Return the digests of the batches that it has taken."""
        path = self._folder / "batches.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line)["digest"] for line in text[: text.rfind("\n") + 1].splitlines()]

    def want(self, batches: int) -> None:
        """Let it take batches until it has so many."""
        self._wanted = batches
        beside = self._folder / "wanted.new"
        beside.write_text(str(batches), encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(self._folder / "wanted")


def _volume(name: str, path: Path, mode: str) -> Iterable[dict[str, Any]]:
    """Return a volume of this machine, which is on all nodes, and a claim for it."""
    size = {"storage": "100Gi"}
    claim = {"accessModes": [mode], "resources": {"requests": size}}
    taken = {"name": name, "namespace": "penstock"}
    given = {"accessModes": [mode], "capacity": size, "hostPath": {"path": str(path)}, "claimRef": taken}
    return (
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"penstock-{name}"}, "spec": given},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim},
    )
