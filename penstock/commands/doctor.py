"""`penstock doctor`: checks this machine, and prints what is missing and how to install or configure it.

It starts no service and changes nothing. Ports and Docker are probed, with deadlines.
"""

import errno
import json
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.text import Text

from penstock.protocol.runtime.cores import usable_cores
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.transport.segments import can_share, has_anonymous_files
from penstock.protocol.version import __version__
from penstock.terminal.console import PlainConsole

State = Literal["ok", "hint", "problem"]

#: Packages that every part needs, and those of the extras: (package, extra, what it is for).
_BASE = ("numpy", "pyzmq", "pydantic", "Pillow", "simplejpeg", "opencv-python-headless")
_OPTIONAL = (
    ("tensorflow", "tf", "Keras and tf.data; [tf-cpu] on machines without a GPU"),
    ("h5py", "hdf5", "HDF5 files"),
    ("pyarrow", "parquet", "Parquet manifests"),
    ("starlette", "dashboard", "the dashboard"),
    ("fsspec", "url", "images at URLs"),
)
#: The same module under another package's name.
_ALSO = {"tensorflow": ("tensorflow-cpu",)}
#: Ports of the services in the documentation, and of the dashboard.
_PORTS = {5550: "dashboard", 5555: "ventilator", 5556: "results", 5557: "trainers"}
#: Least limit of open files that suffices for a stack of some workers.
_FILES = 1024
_SHM = Path("/dev/shm")  # noqa: S108 - asked, not written to
#: Longest that Docker may take to answer (s).
_DOCKER_S = 5.0
_MARKS: dict[State, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "hint": ("hint", "yellow"),
    "problem": ("problem", "red"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about this machine."""

    what: str
    state: State
    found: str
    advice: str = ""


class DoctorSettings(Settings):
    """Prints versions, decoders, shared memory, limits, ports and Docker, and what to do about what is missing."""

    json_: bool = Field(default=False, alias="json")
    """Print JSON instead of a list."""


def packages() -> Iterator[Finding]:
    """Versions of Python and of the packages; which extras are there."""
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("penstock", "ok", f"{__version__}, {python}")
    missing = [name for name in _BASE if not _version(name)]
    found = ", ".join(f"{name} {_version(name)}" for name in _BASE if name not in missing)
    advice = f"not installed: {', '.join(missing)}; install Penstock again with pip" if missing else ""
    yield Finding("packages", "problem" if missing else "ok", found, advice)
    for name, extra, purpose in _OPTIONAL:
        here = next((f"{each} {number}" for each in (name, *_ALSO.get(name, ())) if (number := _version(each))), "")
        install = f"pip install 'penstock[{extra}]' if you want {purpose}"
        yield Finding(extra, "ok" if here else "hint", here or f"no {name}", "" if here else install)


def decoders() -> Iterator[Finding]:
    """Which decoder JPEGs get, whether parts of them are decoded alone, and what is compiled."""
    # A missing package is reported, not raised.
    from penstock.worker.imaging import partial_jpeg  # noqa: PLC0415
    from penstock.worker.imaging.compiled import loops  # noqa: PLC0415

    compiled = "compiled" in partial_jpeg.describe()
    advice = "" if compiled else "install the wheel, or libjpeg-turbo's headers (Debian: libjpeg-dev) and a C compiler"
    yield Finding("parts of JPEGs", "ok" if compiled else "hint", partial_jpeg.describe(), advice)
    built = None not in (loops.AREA, loops.COLORS, loops.RESAMPLING)
    found = (
        "compiled"
        if built
        else "not compiled: the same pixels by NumPy, OpenCV and Pillow, in two to five times the time"
    )
    yield Finding(
        "loops over pixels", "ok" if built else "hint", found, "" if built else "install the wheel, or a C compiler"
    )


def memory() -> Iterator[Finding]:
    """Whether processes share memory, and how much there is."""
    if can_share():
        yield Finding("shared memory", "ok", "used between processes of one user (memfd, through /proc)")
    else:
        why = f"on {platform.system()} {platform.machine()}" if has_anonymous_files() else "without memfd and /proc"
        advice = "everything works, and samples are copied through sockets; Linux on x86-64 shares memory"
        yield Finding("shared memory", "hint", f"not used {why}", advice)
    if _SHM.is_dir():
        space, mode = os.statvfs(_SHM), _SHM.stat().st_mode & 0o7777
        size = f"{space.f_frsize * space.f_blocks / 1e9:.1f} GB, mode {mode:o}"
        yield Finding(str(_SHM), "ok", f"{size} (not needed: Penstock's shared memory has no file)")
    if sys.platform != "linux":
        advice = (
            "`penstock.local` is made to run here, without shared memory, without SCHED_BATCH for workers, and without "
            "the guard against messages that never end"
        )
        yield Finding("system", "hint", f"Penstock is tested on Linux, not on {platform.system()}", advice)


def limits() -> Iterator[Finding]:
    """Cores, and how many files a process may open."""
    cores = len(usable_cores())
    yield Finding("cores", "ok", f"{cores} for this process")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = most != resource.RLIM_INFINITY and most < _FILES
    advice = f"raise it to {_FILES} or more: ulimit -n, or LimitNOFILE= of a systemd unit" if few else ""
    amount = "unlimited" if most == resource.RLIM_INFINITY else f"{most:,}"
    yield Finding("open files", "problem" if few else "ok", f"at most {amount} (ulimit -Hn)", advice)


def ports() -> Iterator[Finding]:
    """Which of the usual ports are taken on loopback."""
    for number, name in _PORTS.items():
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind(("127.0.0.1", number))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            advice = f"a stack may run already: `penstock status`; else choose another port for {name}"
            yield Finding(f"port {number}", "hint", "taken" if taken else str(error.strerror), advice)
        else:
            yield Finding(f"port {number}", "ok", f"free ({name})")


def docker() -> Iterator[Finding]:
    """Whether there is an engine with Compose."""
    if shutil.which("docker") is None:
        yield Finding("Docker", "hint", "no docker command", "only needed to run in containers")
        return
    for command in (
        ["docker", "version", "--format", "{{.Server.Version}}"],
        ["docker", "compose", "version", "--short"],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_DOCKER_S, check=False)
        except subprocess.TimeoutExpired:
            yield Finding(
                "Docker", "hint", f"no answer within {_DOCKER_S:.0f} s", f"see what `{' '.join(command)}` does"
            )
            return
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            yield Finding(
                "Docker", "hint", f"`{' '.join(command[:3])}` fails: {why}", "only needed to run in containers"
            )
            return
        yield Finding("Docker" if "version" == command[1] else "Compose", "ok", done.stdout.strip())


#: All checks, in the order of the output.
CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (packages, decoders, memory, limits, ports, docker)


def examine() -> list[Finding]:
    """Run all checks; an error in a check is a finding itself."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check()
        except (ImportError, OSError) as error:
            found.append(
                Finding(check.__name__, "problem", str(error), "install the named package, or see its documentation")
            )
    return found


def serve(settings: DoctorSettings) -> int:
    """Print; return 0, or 1 if something keeps Penstock from working."""
    found = examine()
    if settings.json_:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        console = PlainConsole()
        for finding in found:
            mark, style = _MARKS[finding.state]
            console.print(Text.assemble((f"{mark:<8}", style), f"{finding.what:<16}{finding.found}"), soft_wrap=True)
            if finding.advice:
                console.print(Text(f"{'':<24}{finding.advice}", "dim"), soft_wrap=True)
    return int(any(finding.state == "problem" for finding in found))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock doctor`."""
    return run(DoctorSettings, serve, "doctor", arguments)


if __name__ == "__main__":
    sys.exit(main())
