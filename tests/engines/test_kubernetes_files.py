"""The files in deploy/kubernetes by the schemas of Kubernetes, JobSet and KEDA: no field that they do not know."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # pyright: ignore[reportMissingImports]
import pytest
import yaml  # type: ignore[import-untyped]
from cloudcoil.models.keda.v1alpha1 import ScaledObject  # pyright: ignore[reportMissingImports]
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import (  # pyright: ignore[reportMissingImports]
    JobsetV1alpha2JobSet,
)

pytestmark = [pytest.mark.engines, pytest.mark.slow]

VERSION = "1.37"
#: Kinds of other projects, each with a test of its own.
OTHERS = ("JobSet", "ScaledObject")


@pytest.fixture
def objects(root: Path) -> list[dict[str, Any]]:
    """Return all objects of all files, without those of kustomize itself."""
    own = ("kustomization.yaml", "kustomizeconfig.yaml")
    files = sorted(path for path in (root / "deploy/kubernetes").rglob("*.yaml") if path.name not in own)
    return [each for path in files for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Yield where a value, read by a model, lacks or changes what it was given."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept.get(key), f"{path}.{key}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for index, value in enumerate(given):
            yield from lost(value, kept[index], f"{path}[{index}]")
    elif given != kept:
        yield path


def test_each_object_is_valid(objects: list[dict[str, Any]]) -> None:
    """Strictly: with a field that is misspelt, or a value of another type, none would be."""
    own = [each for each in objects if each["kind"] not in OTHERS]
    assert {"StatefulSet", "Deployment", "NetworkPolicy", "HorizontalPodAutoscaler"} <= {each["kind"] for each in own}
    for each in own:
        kubernetes_validate.validate(each, VERSION, strict=True)
    [sink] = [each for each in own if ("StatefulSet", "sink") == (each["kind"], each["metadata"]["name"])]
    sink["spec"]["podManagementPolitics"] = "Parallel"
    with pytest.raises(kubernetes_validate.ValidationError, match="podManagementPolitics"):
        kubernetes_validate.validate(sink, VERSION, strict=True)


def test_the_job_set_is_valid(objects: list[dict[str, Any]]) -> None:
    """JobSet's own model keeps each of its fields, and the jobs in it are valid jobs."""
    [found] = [each for each in objects if "JobSet" == each["kind"]]
    assert [] == list(lost(found, JobsetV1alpha2JobSet.from_dict(found).to_dict()))
    for each in found["spec"]["replicatedJobs"]:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": each["name"]}} | each["template"]
        kubernetes_validate.validate(job, VERSION, strict=True)
    found["spec"]["networks"] = {}
    assert [".spec.networks"] == list(lost(found, JobsetV1alpha2JobSet.from_dict(found).to_dict()))


def test_the_scaled_object_is_valid(objects: list[dict[str, Any]]) -> None:
    """KEDA's own model keeps each of its fields; one that is misspelt would be lost."""
    [found] = [each for each in objects if "ScaledObject" == each["kind"]]

    def kept() -> dict[str, Any]:
        model: dict[str, Any] = ScaledObject.model_validate(found).model_dump(by_alias=True, exclude_unset=True)
        return model

    assert [] == list(lost(found, kept()))
    found["spec"]["minReplicas"] = 0
    assert [".spec.minReplicas"] == list(lost(found, kept()))
