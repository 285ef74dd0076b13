"""A Ray cluster on this machine that grows and shrinks by Ray's own autoscaler: a head, and nodes as they are needed.

`ray.cluster_utils.AutoscalingCluster` reads a file that Ray's wheel leaves out (`fake_multi_node/example.yaml`), and so
does any configuration with its kind of provider, `fake_multinode`. The one written here is complete, and names the same
provider's class as an external one, for which no file is read. Its nodes are real raylets, children of the autoscaler.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import psutil
from support.streams import held_ports

#: Longest that `ray start` may take (s).
_START_S = 120.0
#: A node's resources, how many there may be besides the head, and minutes after which an idle one is removed.
NODE_CPUS, MOST_NODES, IDLE_MINUTES = 2, 3, 0.1


class AutoscalingCluster:
    """A head without room for workers, and nodes that the autoscaler adds; a context manager."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Start nothing. `environment`: more variables of all processes of the cluster."""
        self._ports = ExitStack()
        [self._port] = self._ports.enter_context(held_ports(1))
        self.address = f"127.0.0.1:{self._port}"
        self._folder = folder
        self._environment = {
            **os.environ,
            **environment,
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_worker_niceness": "0",  # 15 by default: other programs of this machine would starve them
        }
        self._head: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the head and its autoscaler."""
        config = self._folder / "autoscaler.json"
        config.write_text(json.dumps(self._config()))
        ray = shutil.which("ray", path=str(Path(sys.executable).parent))
        assert ray
        options = ["--head", "--block", f"--port={self._port}", "--node-ip-address=127.0.0.1", "--num-cpus=0"]
        options += ["--include-dashboard=false", "--disable-usage-stats", f"--autoscaling-config={config}"]
        with (self._folder / "ray.log").open("ab") as log:
            self._head = subprocess.Popen(
                [ray, "start", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._environment),
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        """End every process of the cluster."""
        assert self._head
        with suppress(psutil.NoSuchProcess):
            own = psutil.Process(self._head.pid)
            for process in [*own.children(recursive=True), own]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._head.wait(_START_S)
        self._ports.close()

    def said(self) -> str:
        """Return what `ray start` has printed."""
        return (self._folder / "ray.log").read_text(errors="replace")

    def _config(self) -> dict[str, Any]:
        provider = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
        lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        return {
            "cluster_name": "penstock",
            "max_workers": MOST_NODES,
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": IDLE_MINUTES,
            "docker": {},
            "auth": {},
            "provider": {
                "type": "external",
                "module": provider,
                "gcs_address": self.address,
                # All nodes share one address, and nothing is installed on them.
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "available_node_types": {
                "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "node": {
                    "resources": {"CPU": NODE_CPUS, "object_store_memory": 100_000_000},
                    "node_config": {},
                    "min_workers": 0,
                    "max_workers": MOST_NODES,
                },
            },
            "head_node_type": "ray.head.default",
            "file_mounts": {},
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            "rsync_exclude": [],
            "rsync_filter": [],
            **{f"{name}_commands": [] for name in lists},
        }
