"""Kubernetes' own autoscaler follows the number of workers that the ventilator wants, by the overlay `hpa`."""

from collections.abc import Iterator

import pytest
from kubernetes.deployed import Deployed
from kubernetes.namespaces import COMMAND_S
from support.streams import until

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

_PORT = 6444
_API = f"""
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{ name: v1beta1.external.metrics.k8s.io }}
spec:
  group: external.metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {{ name: external-metrics, namespace: kube-system, port: {_PORT} }}
---
apiVersion: v1
kind: Service
metadata: {{ name: external-metrics, namespace: kube-system }}
spec: {{ ports: [{{ port: {_PORT} }}] }}
---
apiVersion: v1
kind: Endpoints
metadata: {{ name: external-metrics, namespace: kube-system }}
subsets: [{{ addresses: [{{ ip: 10.213.0.1 }}], ports: [{{ port: {_PORT} }}] }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{ name: external-metrics }}
rules: [{{ apiGroups: [external.metrics.k8s.io], resources: ["*"], verbs: [get, list] }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{ name: external-metrics }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: external-metrics }}
subjects: [{{ kind: ServiceAccount, name: horizontal-pod-autoscaler, namespace: kube-system }}]
"""


@pytest.fixture
def adapter(deployed: Deployed) -> Iterator[None]:
    """Let the cluster have an adapter of external metrics, and nothing of it afterwards."""
    deployed.cluster.start_adapter(_PORT)
    deployed.cluster.apply(_API)
    yield
    # The endpoints are deleted with their service, by the cluster, before or after they are asked for.
    deployed.cluster.kubectl("delete", "--ignore-not-found", "-f", "-", given=_API)


def test_the_number_of_workers_follows_the_need(adapter: None, deployed: Deployed) -> None:
    """The autoscaler reads what the ventilator wants, three workers and then one, and workers come and go by that."""
    del adapter
    want(deployed, 3)
    until(lambda: 3 == replicas(deployed), "the autoscaler to want three workers", COMMAND_S)
    deployed.joined(3)
    want(deployed, 1)
    until(lambda: 1 == replicas(deployed), "the autoscaler to want one worker", COMMAND_S)
    deployed.joined(1)


def want(deployed: Deployed, workers: int) -> None:
    """Let the ventilator want no fewer workers: as no trainer reads, it wants as few as it may."""
    variables = (f"PENSTOCK_WORKERS_LEAST={workers}", "PENSTOCK_WORKERS_DOWN_S=5")
    deployed.kubectl("set", "env", "statefulset/ventilator", *variables)
    deployed.rolled_out("ventilator")


def replicas(deployed: Deployed) -> int:
    """Return how many workers the deployment is to have."""
    return int(deployed.cluster.get("deployment/worker", "--namespace=penstock")["spec"]["replicas"])
