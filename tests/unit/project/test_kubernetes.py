"""The files in deploy/kubernetes: what they start takes its settings, and every pod is as restricted as it says."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from penstock.protocol.runtime.settings import ServiceSettings, parse
from penstock.sink.settings import SinkSettings
from penstock.ventilator.monitoring.metrics import METRICS
from penstock.ventilator.settings import VentilatorSettings
from penstock.worker.service import WorkerSettings

PARTS: dict[str, type[ServiceSettings]] = {
    "ventilator": VentilatorSettings,
    "sink": SinkSettings,
    "worker": WorkerSettings,
}
#: Kinds of volumes that the standard "restricted" of Pod Security admits.
ADMITTED = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
#: Where a job's pod finds its number.
COMPLETION = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
#: Files of kustomize itself.
KUSTOMIZE = ("kustomization.yaml", "kustomizeconfig.yaml")
OVERLAYS = ("hpa", "keda", "jobset", "kubernetes-1.20")


@pytest.fixture
def folder(root: Path) -> Path:
    """Return the folder of the files."""
    return root / "deploy" / "kubernetes"


def objects(folder: Path) -> list[dict[str, Any]]:
    """Return all objects of all files, without those of kustomize itself."""
    files = sorted(path for path in folder.rglob("*.yaml") if path.name not in KUSTOMIZE)
    return [each for path in files for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def pods(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the pod templates below an object."""
    for key, value in found.items():
        if key == "template" and "containers" in value.get("spec", {}):
            yield value
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield from pods(each)


def part(folder: Path, name: str) -> dict[str, Any]:
    """Return the pod template of a part."""
    [template] = [pod for each in objects(folder / "base") for pod in pods(each) if each["metadata"]["name"] == name]
    return template


def value(variable: dict[str, Any], pod: str) -> str:
    """Return what a container of a pod reads from a variable, as Kubernetes says it."""
    known = {"metadata.name": pod, "spec.nodeName": "node-7", COMPLETION: pod.rpartition("-")[2]}
    if "valueFrom" in variable:
        return known[variable["valueFrom"]["fieldRef"]["fieldPath"]]
    return str(variable["value"]).replace("$(PENSTOCK_NAME)", pod).replace("$(NODE)", known[COMPLETION])


@pytest.mark.parametrize("name", sorted(PARTS))
def test_each_container_starts_its_part_with_settings_that_it_takes(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments and variables are those of the command, and the ports are those that it listens on."""
    for variable in [each for each in os.environ if each.startswith("PENSTOCK_")]:
        monkeypatch.delenv(variable)
    template = part(folder, name)
    [container] = template["spec"]["containers"]
    command, *arguments = container["args"]
    fields = {f"PENSTOCK_{field.upper()}" for field in PARTS[name].model_fields}
    for variable in container["env"]:
        assert variable["name"] in fields
        monkeypatch.setenv(variable["name"], value(variable, f"{name}-0"))
    settings = parse(PARTS[name], arguments, command)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    listens = {field: getattr(settings, field) for field in ("bind", "results", "health") if hasattr(settings, field)}
    assert sorted(ports.values()) == sorted(int(address.rpartition(":")[2]) for address in listens.values())
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert settings.keys is not None
    secret = next(
        each for each in template["spec"]["volumes"] if each["name"] == mounts[str(Path(settings.keys).parent)]
    )
    assert {"secretName": f"{name}-keys", "defaultMode": 0o440} == secret["secret"]


def test_workers_have_the_time_to_drain(folder: Path) -> None:
    """Kubernetes kills a worker only after it has had the time that it takes at most."""
    assert (
        part(folder, "worker")["spec"]["terminationGracePeriodSeconds"] > WorkerSettings(ventilator="tcp://x:1").drain_s
    )


def test_every_pod_is_restricted(folder: Path) -> None:
    """No pod asks for more than the standard "restricted" of Pod Security, which the namespace demands."""
    [namespace] = [each for each in objects(folder) if each["kind"] == "Namespace"]
    assert "restricted" == namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    templates = [pod for each in objects(folder) for pod in pods(each)]
    assert len(PARTS) + 1 == len(templates)
    for template in templates:
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert {"type": "RuntimeDefault"} == spec["securityContext"]["seccompProfile"]
        assert spec["automountServiceAccountToken"] is False
        assert {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}} <= ADMITTED
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert {"drop": ["ALL"]} == container["securityContext"]["capabilities"]


def test_services_and_policies_name_ports_that_their_pods_have(folder: Path) -> None:
    """A port that is misspelt would let nothing in, or nowhere."""
    named = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]: {
            port["name"]: port["containerPort"]
            for container in template["spec"]["containers"]
            for port in container["ports"]
        }
        for template in (part(folder, name) for name in PARTS)
    }
    for each in objects(folder / "base"):
        if each["kind"] == "Service":
            assert each["spec"]["selector"]["app.kubernetes.io/component"] == each["metadata"]["name"]
            ports = {port["name"]: port["port"] for port in each["spec"]["ports"]}
            assert ports.items() <= named[each["metadata"]["name"]].items()
        if each["kind"] == "NetworkPolicy":
            component = each["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component")
            for port in [port["port"] for rule in each["spec"].get("ingress", ()) for port in rule.get("ports", ())]:
                assert all(port in ports for name, ports in named.items() if component in (None, name))


def test_a_trainer_s_pod_has_a_sink_that_its_ranks_and_the_workers_reach(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with the trainer, listens to the ranks on loopback, and to workers at its pod's own name."""
    for variable in [each for each in os.environ if each.startswith("PENSTOCK_")]:
        monkeypatch.delenv(variable)
    found = objects(folder / "overlays" / "jobset")
    [job_set] = [each for each in found if each["kind"] == "JobSet"]
    [template] = list(pods(job_set))
    [sink], [trainer] = template["spec"]["initContainers"], template["spec"]["containers"]
    assert "Always" == sink["restartPolicy"], "it would have to end before the trainer begins"
    for variable in sink["env"]:
        monkeypatch.setenv(variable["name"], value(variable, "train-node-0-1"))
    command, *arguments = sink["args"]
    settings = parse(SinkSettings, arguments, command)
    assert ("node-1", "node-7") == (settings.name, settings.node)
    assert "tcp://train-node-0-1.train:5556" == settings.advertise
    assert {"PENSTOCK_SINK": settings.bind}.items() <= {
        each["name"]: each.get("value") for each in trainer["env"]
    }.items()
    ports = {port["name"]: port["containerPort"] for port in sink["ports"]}
    assert {
        "results": int(settings.results.rpartition(":")[2]),
        "health": int(settings.health.rpartition(":")[2]),
    } == ports
    [policy] = [each for each in found if each["kind"] == "NetworkPolicy"]
    let_in = [port["port"] for rule in policy["spec"]["ingress"] for port in rule.get("ports", ())]
    assert sorted(ports.values()) == sorted(let_in), "by number: names are looked for among containers only, by some"
    mounts = {mount["name"]: mount["mountPath"] for mount in sink["volumeMounts"]}
    assert settings.keys is not None
    assert str(Path(settings.keys).parent) == mounts["sink-keys"]


def test_autoscalers_follow_a_metric_that_the_ventilator_has(folder: Path) -> None:
    """Both autoscalers ask for the number of workers wanted, and divide it by 1."""
    names = {definition.name for definition in METRICS}
    scalers = {
        each["kind"]: each["spec"] for each in objects(folder / "overlays") if "scaleTargetRef" in each.get("spec", {})
    }
    assert {"HorizontalPodAutoscaler", "ScaledObject"} == scalers.keys()
    external = scalers["HorizontalPodAutoscaler"]["metrics"][0]["external"]
    assert external["metric"]["name"] in names
    assert {"type": "AverageValue", "averageValue": "1"} == external["target"]
    trigger = scalers["ScaledObject"]["triggers"][0]
    assert trigger["metadata"]["query"].removeprefix("max(").partition("{")[0] in names
    assert ("AverageValue", "1") == (trigger["metricType"], trigger["metadata"]["threshold"])


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, which has kustomize in it")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_builds_each_overlay(folder: Path, root: Path, tmp_path: Path, overlay: str) -> None:
    """With a spec and keys next to the base, each overlay is complete, and refers to secrets by the names it made."""
    shutil.copytree(folder, tmp_path / "kubernetes")
    base = tmp_path / "kubernetes" / "base"
    shutil.copy(root / "deploy" / "spec.toml", base)
    (base / "keys").mkdir()
    for name in (*PARTS, "trainer"):
        (base / "keys" / f"{name}.keys").write_text("keys", encoding="utf-8")
    command = ["kubectl", "kustomize", str(tmp_path / "kubernetes" / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    built = list(yaml.safe_load_all(done.stdout))
    made = {each["metadata"]["name"] for each in built if each["kind"] in ("Secret", "ConfigMap")}
    used = {
        volume.get("secret", {}).get("secretName") or volume.get("configMap", {}).get("name")
        for each in built
        for pod in pods(each)
        for volume in pod["spec"]["volumes"]
    }
    assert {name for name in used if name} <= made
    assert {"penstock"} == {each["metadata"].get("namespace", "penstock") for each in built}
