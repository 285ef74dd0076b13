"""Takes out of the images' packages what no service imports, while they are built: 35 of their 236 MB.

    python slim_packages.py SITE-PACKAGES

Symbols for debuggers, which hdf5plugin's wheel has 166 MB of; numpy's build tools and the tests of several packages;
lexers of languages that are never highlighted; and the HDF5 filters SPERR, SZ and SZ3, which compress floating-point
fields of simulations with loss. A data set that is compressed by one of these is refused by name. Needs strip.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

#: What is taken out, as patterns below site-packages; folders with all that they hold.
UNUSED = (
    "h5py/tests",
    "hdf5plugin/test.py",
    "hdf5plugin/plugins/libh5sperr.so",
    "hdf5plugin/plugins/libh5sz.so",
    "hdf5plugin/plugins/libh5sz3.so",
    "numpy/**/tests",
    "numpy/_core/_*_tests.*.so",
    "numpy/_core/_simd.*.so",  # for tests only
    "numpy/_core/include",
    "numpy/distutils",
    "numpy/f2py",
    "pygments/lexers/[a-z]*.py",
    "pygments/lexers/__pycache__/[a-z]*.pyc",
    "zmq/tests",
    "**/*.pyi",
    "**/*.[ch]",
    "**/*.a",
    "**/*.pyx",
    "**/*.pxd",
)
#: Matched by a pattern, and kept: tracebacks are highlighted.
KEPT = ("python", "special")
#: The list of filters that hdf5plugin registers: it would report those that it does not find.
FILTERS, LEFT_OUT = "hdf5plugin/_config.py", ("'sperr', ", "'sz', ", "'sz3', ")
#: Ends the build if a package misses something.
TRIAL = """
import importlib.util, numpy, simplejpeg, zmq
import PIL._avif, PIL._imagingft, PIL._webp, PIL.Image, rich.console, rich.traceback
if importlib.util.find_spec("h5py"):
    import h5py, hdf5plugin
try:
    1 / 0
except ZeroDivisionError:
    rich.console.Console(quiet=True).print(rich.traceback.Traceback())
wide = numpy.random.default_rng(0).normal(size=(50, 50))
assert numpy.allclose(numpy.linalg.solve(wide, wide @ wide), wide)
"""


def main() -> None:
    """Take it out."""
    packages = Path(sys.argv[1])
    before = size(packages)
    for pattern in UNUSED:
        for path in packages.glob(pattern):
            if path.name.partition(".")[0] not in KEPT:
                remove(path)
    filters = packages / FILTERS
    if filters.exists():  # without the extra hdf5 it is not there
        text = filters.read_text(encoding="utf-8")
        for name in LEFT_OUT:
            text = text.replace(name, "")
        filters.write_text(text, encoding="utf-8")
    for module in packages.rglob("*.so"):
        if not any(part == "cv2" or part.endswith(".libs") for part in module.parts):
            strip(module)
    for library in packages.glob("*.libs/*.so*"):
        strip_where_it_loads(library)
    subprocess.run([sys.executable, "-c", TRIAL], check=True)
    print(f"the packages are {(before - size(packages)) / 1e6:.0f} MB smaller")


def strip_where_it_loads(library: Path) -> None:
    """Strip a library that a wheel brings. Some are damaged by that, since they were patched: they stay as they are."""
    with tempfile.TemporaryDirectory() as scratch:
        kept = shutil.copy2(library, scratch)
        strip(library)
        loads = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
        if subprocess.run([sys.executable, "-c", loads, library], stderr=subprocess.DEVNULL, check=False).returncode:
            shutil.copy2(kept, library)


def strip(library: Path) -> None:
    """Take the symbols for debuggers out of a library. Raises CalledProcessError."""
    subprocess.run(["strip", "--strip-unneeded", library], check=True)  # noqa: S607 - where the system has it


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def size(folder: Path) -> int:
    """Return the bytes of the files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


if __name__ == "__main__":
    main()
