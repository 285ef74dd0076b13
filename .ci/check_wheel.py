"""Check of the built wheel in a fresh environment that holds only the base dependencies. Owns build/wheel and its venv.

The tests run on an editable install, which finds files that a wheel lacks, and with TensorFlow, which hides a missing
dependency. Here nothing of the repository is in reach.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELS = ROOT / "build" / "wheel"
VENV = ROOT / "build" / "wheel-venv"
#: Seconds that one import, or `penstock --help`, may take.
RUN_LIMIT_S = 60

PROBE = """
import importlib, importlib.util, pathlib, sys
import penstock
for heavy in ("tensorflow", "keras"):
    assert importlib.util.find_spec(heavy) is None, f"{heavy} is no base dependency, but it is here"
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).is_relative_to(sys.prefix), f"{name} is imported from {module.__file__}"
from penstock.worker.imaging import partial_jpeg
print("wheel: patches of large JPEGs are decoded", partial_jpeg.describe())
print(f"wheel: penstock {penstock.__version__} and its packages import: {' '.join(sys.argv[1:])}")
"""


def main() -> int:
    """Build, install, import and run; any step that fails ends the check with its own words."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages: list[str] = settings["tool"]["setuptools"]["packages"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    try:
        install(pip, build(pip))
        with tempfile.TemporaryDirectory() as elsewhere:
            probe(packages, Path(elsewhere))
    except subprocess.CalledProcessError as error:
        # The probe is a program of several lines: its first words tell which step it was.
        words = " ".join(map(str, error.cmd)).replace(PROBE, "<probe>")
        print(f"wheel: FAILED with exit status {error.returncode}: {words}")
        return 1
    return 0


def build(pip: list[str]) -> Path:
    """Build the wheel from the tree and return its path."""
    # setuptools copies modules to build/lib and never removes them: a deleted one would come back in the wheel. The
    # extension's object file in build/temp would hide that it compiles no more.
    old = [folder for name in ("lib*", "temp*", "bdist*") for folder in (ROOT / "build").glob(name)]
    for stale in (WHEELS, *old):
        shutil.rmtree(stale, ignore_errors=True)
    constraints = ["--build-constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", *constraints, "-w", str(WHEELS), str(ROOT)], check=True)
    (wheel,) = WHEELS.glob("penstock-*.whl")
    return wheel


def install(pip: list[str], wheel: Path) -> None:
    """Make an empty venv and install the wheel there, with its base dependencies only."""
    venv.create(VENV, clear=True, with_pip=False, symlinks=True)
    target = ["--python", str(VENV / "bin" / "python")]
    subprocess.run([*pip, *target, "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel)], check=True)


def probe(packages: list[str], elsewhere: Path) -> None:
    """Compile, import and run what was installed, from a folder outside the repository, with warnings as errors."""
    python = [str(VENV / "bin" / "python"), "-I", "-W", "error"]
    (installed,) = VENV.glob("lib/python*/site-packages/penstock")
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    for command in (
        [*python, "-m", "compileall", "-q", "-f", str(installed)],
        [*python, "-c", PROBE, *packages],
        [str(VENV / "bin" / "penstock"), "--help"],
    ):
        subprocess.run(command, check=True, cwd=elsewhere, env=environment, timeout=RUN_LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
