"""Tries an installed wheel: it is imported from its environment, has the compiled code, and its own libjpeg-turbo.

    python -I .ci/try_wheel.py

Run by `build_wheels.py` and by cibuildwheel in the environment that the wheel was installed into.
"""

import sys
from pathlib import Path

import penstock
from penstock.worker.imaging import partial_jpeg
from penstock.worker.imaging.compiled import loops


def main() -> None:
    """Say what was found; the exit status is 1 if the wheel is not as it must be."""
    place, decoder = Path(penstock.__file__), partial_jpeg.describe()
    if not place.is_relative_to(sys.prefix):
        sys.exit(f"penstock is not the installed one: {place}")
    if "compiled extension" not in decoder:
        sys.exit(f"the wheel lacks the compiled decoder: {decoder}")
    if None in (loops.AREA, loops.COLORS, loops.RESAMPLING):
        sys.exit("the wheel lacks the compiled loops over pixels (worker/imaging/compiled)")
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    loaded = {line.split()[-1] for line in lines if "libjpeg" in line}
    if not any("penstock.libs" in path for path in loaded):
        sys.exit(f"libjpeg is not the wheel's: {loaded}")
    print(f"{sys.version.split()[0]}: penstock {penstock.__version__}, {decoder}")


if __name__ == "__main__":
    main()
