"""Makes OpenCV in the images smaller, while they are built: 73 of its 153 MB are FFmpeg, libaom and a second OpenBLAS.

    python slim_opencv.py SITE-PACKAGES

FFmpeg's libraries and libaom give way to libraries with the same functions, of which each ends the program and says
why: nothing here decodes video, Pillow decodes AVIF, and without them `import cv2` would fail. OpenBLAS gives way to
Debian's LAPACK and BLAS, which compute the same. If OpenCV does not pass a trial afterwards, everything is put back,
and the image is larger. Needs gcc, nm and Debian's liblapack3.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

#: What OpenCV itself is linked with, and what only that needs.
FFMPEG = ("avcodec", "avformat", "avutil", "swscale")
UNUSED = ("swresample", "vpx", "crypto", "ssl", "drm", "gfortran", "quadmath")
#: Debian's libraries that take OpenBLAS's place; the last two are Fortran's, which not every processor has both of, and
#: which numpy's wheel brings too.
LAPACK = ("liblapack.so.3", "libblas.so.3", "libgfortran.so.5", "libquadmath.so.0")
STUB = """
#include <stdlib.h>
#include <unistd.h>
static void refuse(void) {{
    static const char words[] = "penstock: OpenCV in this image decodes no video and no AVIF: both were left out\\n";
    if (write(2, words, sizeof words - 1)) abort();
    abort();
}}
{functions}
"""
#: Uses what Penstock and custom operations use: codecs, resampling, warps, LAPACK by `solve` and BLAS by `gemm`.
TRIAL = """
import cv2, numpy
grey = numpy.arange(4096, dtype=numpy.uint8).reshape(64, 64)
for name in (".png", ".jpg", ".webp", ".jp2", ".tiff"):
    coded = cv2.imencode(name, grey)[1]
    assert cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE).shape == (64, 64), name
assert cv2.resize(grey, (20, 20), interpolation=cv2.INTER_AREA).shape == (20, 20)
cv2.warpAffine(grey, cv2.getRotationMatrix2D((32, 32), 30, 1), (64, 64), flags=cv2.INTER_CUBIC)
wide = numpy.random.default_rng(0).normal(size=(120, 120))
for method in (cv2.DECOMP_LU, cv2.DECOMP_CHOLESKY, cv2.DECOMP_SVD, cv2.DECOMP_QR):
    system = wide @ wide.T + 120 * numpy.eye(120)
    assert numpy.allclose(system @ cv2.solve(system, wide, flags=method)[1], wide), method
assert numpy.allclose(cv2.gemm(wide, wide, 1, None, 0), wide @ wide)
cv2.eigenNonSymmetric(wide)
"""


def main() -> int:
    """Make it smaller, or leave it as it was; return the exit status."""
    packages = Path(sys.argv[1])
    libraries = packages / "opencv_python_headless.libs"
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(shutil.copytree(libraries, Path(scratch) / "kept"))
        try:
            slim(packages / "cv2" / "cv2.abi3.so", libraries, Path(scratch))
            run(sys.executable, "-c", TRIAL)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            print(f"OpenCV stays as it is: {error}")
            shutil.rmtree(libraries)
            shutil.copytree(kept, libraries)
        else:
            print(f"OpenCV is {(size(kept) - size(libraries)) / 1e6:.0f} MB smaller")
    return 0


def slim(module: Path, libraries: Path, scratch: Path) -> None:
    """Put the smaller libraries in place. Raises OSError, ValueError, CalledProcessError."""
    wanted = undefined(module)
    for name in FFMPEG:
        version, functions = next(
            (key, names) for key, names in wanted.items() if key.startswith(f"LIB{name.upper()}_")
        )
        script = scratch / f"{name}.map"
        script.write_text(f"{version} {{ global: *; }};\n")
        refuse(only(libraries.glob(f"lib{name}-*")), functions, scratch, f"-Wl,--version-script={script}")
    used = undefined(only(libraries.glob("libavif-*")))[""]
    refuse(only(libraries.glob("libaom-*")), [name for name in used if name.startswith("aom_")], scratch)
    for name in UNUSED:
        for path in libraries.glob(f"lib{name}-*"):
            path.unlink()
    known = run("ldconfig", "-p")
    for name in LAPACK:
        stem = name.partition(".")[0]
        if numpys := list(libraries.parent.glob(f"numpy.libs/{stem}-*")):
            (libraries / name).symlink_to(Path("..", "numpy.libs", numpys[0].name))
        elif found := re.search(rf"{re.escape(name)} .* => (\S+)$", known, re.MULTILINE):
            shutil.copy(found[1], libraries / name)
    # An empty library that needs the two: OpenCV asks for OpenBLAS by name.
    needed = (libraries / name for name in LAPACK[:2])
    link(only(libraries.glob("libopenblas*")), "-Wl,--no-as-needed,--allow-shlib-undefined", *needed)


def refuse(library: Path, functions: Iterable[str], scratch: Path, *arguments: str) -> None:
    """Put a library in place of another whose functions end the program. Raises CalledProcessError."""
    source = scratch / "stub.c"
    source.write_text(STUB.format(functions="\n".join(f"void {each}(void) {{ refuse(); }}" for each in functions)))
    link(library, "-fno-builtin", source, *arguments)


def undefined(module: Path) -> dict[str, list[str]]:
    """Return the functions that a library takes from others, by the version that it asks for."""
    found: dict[str, list[str]] = defaultdict(list)
    for symbol in run("nm", "-D", "--undefined-only", module).split():
        name, _, version = symbol.partition("@")
        found[version].append(name)
    return found


def link(library: Path, *arguments: str | Path) -> None:
    """Build a library in place of another, under its name. Raises CalledProcessError."""
    library.unlink()
    run("gcc", "-shared", "-fPIC", "-Os", "-s", f"-Wl,-soname,{library.name}", "-o", library, *arguments)


def only(paths: Iterable[Path]) -> Path:
    """Return the one path. Raises ValueError."""
    found = list(paths)
    if 1 != len(found):
        raise ValueError(f"expected one library, found {[path.name for path in found]}")
    return found[0]


def run(*command: str | Path) -> str:
    """Return what a command printed. Raises CalledProcessError."""
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def size(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    sys.exit(main())
