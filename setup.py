"""The one compiled part. Owns how it is built; all else of the package is in pyproject.toml.

Without a C compiler, Python's headers or those of libjpeg-turbo (Debian: libjpeg-dev), setuptools warns and goes on:
the package works without it, more slowly and with the same bytes (docs/decoding.md). It would stand in pyproject.toml,
were extensions there not experimental still.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "penstock.worker.imaging._jpeg_regions",
            ["worker/imaging/_jpeg_regions.c"],
            libraries=["jpeg"],
            optional=True,
            py_limited_api=True,
        )
    ],
    # One build serves every Python from 3.11 on.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
