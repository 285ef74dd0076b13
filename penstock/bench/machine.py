"""Describes this machine as far as readers of a benchmark need it, without names of hosts or users."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from penstock.protocol.runtime.cores import usable_cores
from penstock.protocol.runtime.gpus import Gpus
from penstock.protocol.version import __version__

#: Packages whose versions matter to a benchmark.
_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "simplejpeg",
    "Pillow",
    "pyzmq",
    "tensorflow",
    "tensorflow-cpu",
    "keras",
)


def describe() -> dict[str, str]:
    """Return facts by name."""
    gpus = Gpus()
    versions = ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name)))
    load = os.getloadavg()[0]
    facts = {
        "Processor": f"{_processor()}; {len(usable_cores())} cores may be used",
        "Memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "GPU": ", ".join(gpus.names) or f"none ({gpus.why})",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Packages": f"Penstock {__version__}, {versions}",
        "Load average at the end": f"{load:.1f} over the last minute",
    }
    gpus.close()
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
