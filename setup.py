"""The compiled parts. Owns how they are built; all else of the package is in pyproject.toml.

Without a C compiler, Python's headers or, for the first of them, those of libjpeg-turbo (Debian: libjpeg-dev),
setuptools warns and goes on: the package works without them, more slowly and with the same bytes (docs/decoding.md).
They would stand in pyproject.toml, were extensions there not experimental still.
"""

from setuptools import Extension, setup

#: Vectors, but no operation of floating-point numbers other than those written down: the bytes depend on their order.
_LOOPS = ["-O3", "-fno-wrapv", "-ffp-contract=off", "-fno-trapping-math"]


def _loops(name: str) -> Extension:
    """Return an extension of loops over pixels."""
    folder = "worker/imaging/compiled"
    return Extension(
        f"penstock.worker.imaging.compiled.{name}",
        [f"{folder}/{name}.c"],
        depends=[f"{folder}/{header}.h" for header in ("_area_rows", "_image", "_inline", "_resampling_rows")],
        extra_compile_args=_LOOPS,
        optional=True,
        py_limited_api=True,
    )


setup(
    ext_modules=[
        Extension(
            "penstock.worker.imaging._jpeg_regions",
            [
                "worker/imaging/_jpeg_regions.c",
                "worker/imaging/compiled/_jpeg_colors.c",
                "worker/imaging/compiled/_jpeg_entropy.c",
                "worker/imaging/compiled/_jpeg_planes.c",
            ],
            depends=[
                f"worker/imaging/compiled/{name}.h"
                for name in ("_inline", "_jpeg_colors_levels", "_jpeg_entropy", "_jpeg_errors", "_jpeg_planes")
            ],
            extra_compile_args=["-O3"],
            libraries=["jpeg"],
            optional=True,
            py_limited_api=True,
        ),
        _loops("_area"),
        _loops("_resampling"),
        _loops("_colors"),
    ],
    # One build serves every Python from 3.11 on.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
