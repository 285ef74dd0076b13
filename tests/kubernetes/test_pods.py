"""What a pod of a stack on a cluster may do."""

import json

import pytest
from kubernetes.deployed import Deployed

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

#: Asked from within a container: who it is, what it may do, where it can write, and what keys it has.
PROBE = """
import json, os, pathlib
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
def writes(folder):
    try:
        pathlib.Path(folder, "x").touch()
    except OSError:
        return False
    return True
facts = {name: status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")}
facts["uid"] = os.getuid()
folders = ("/", "/app", "/data", "/data/images", "/run", "/run/penstock", "/tmp", "/etc")
facts["writes"] = [folder for folder in folders if writes(folder)]
facts["keys"] = [name for name in os.listdir("/run/penstock") if not name.startswith("..")]
print(json.dumps(facts))
"""


@pytest.mark.parametrize("part", ["ventilator", "sink", "worker"])
def test_a_running_pod_can_do_nothing_but_its_work(part: str, deployed: Deployed) -> None:
    """No capability, no new ones, filtered system calls, no file but in /tmp, one bundle of keys: asked from within."""
    facts = json.loads(deployed.kubectl("exec", deployed.pod(part), "--", "python", "-c", PROBE))
    nothing = "0000000000000000"
    expected = {"CapEff": nothing, "CapPrm": nothing, "CapBnd": nothing, "NoNewPrivs": "1", "Seccomp": "2"}
    assert expected | {"uid": 10001, "writes": ["/tmp"], "keys": ["keys"]} == facts  # noqa: S108 - in the container
