"""Packages of custom transforms for tests: built and installed by pip into a folder, as a user would.

Owns small transforms that do what a test needs, right and wrong. Knows nothing of how they are found and called.
"""

import subprocess
import sys
from pathlib import Path

#: The transforms of `probe`, and one that cannot be imported.
SOURCE = """
import os
import sys
import time
from collections.abc import Mapping

import numpy as np


def slow(sample, rng):
    time.sleep(float(os.environ.get("PROBE_SLEEP_S", "0")))
    return sample


def invert(sample, rng, *, top=255):
    sample["image"][...] = top - sample["image"]
    return sample


def dither(sample, rng, *, levels):
    noise = rng.integers(-levels, levels + 1, sample["image"].shape)
    sample["image"] = np.clip(sample["image"] + noise, 0, 255).astype(np.uint8)
    return sample


def half(sample, rng):
    image = sample["image"][::2, ::2].astype(np.float32) / 255
    return sample | {"image": image, "weight": np.float32(rng.random())}


def swap(sample, rng):
    return sample | {"img": sample["qf9"], "qf9": sample["img"]}


def moody(sample, rng, *, every):
    if sample["item"] % every == 0:
        raise ValueError(f"item {sample['item']} is not to my taste")
    return sample


def twisted(sample, rng):
    sample["image"] = sample["image"].transpose(1, 0, 2)
    return sample


def widened(sample, rng):
    sample["image"] = sample["image"] / 255
    return sample


def forgetful(sample, rng):
    return {"image": sample["image"]}


def silent(sample, rng):
    sample["image"] += 1


def renamed(sample, rng):
    sample["item"] = sample["item"] + 1
    return sample


def ragged(sample, rng):
    sample["label"] = [[1], [1, 2]]
    return sample


class OnDevice:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


def device(sample, rng):
    return sample | {"image": OnDevice()}


def exiting(sample, rng):
    sys.exit("3 is enough")


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def speechless(sample, rng):
    raise Speechless


class Mumbling:
    def __array__(self, dtype=None, copy=None):
        raise Speechless


def mumbling(sample, rng):
    return sample | {"label": Mumbling()}


class Lazy(Mapping):
    def __init__(self, sample, nameless=False):
        self.sample, self.nameless = sample, nameless

    def __len__(self):
        return len(self.sample)

    def __iter__(self):
        if self.nameless:
            raise OSError("the file is gone")
        return iter(self.sample)

    def __getitem__(self, name):
        raise OSError(f"the file of {name} is gone")


def lazy(sample, rng):
    return Lazy(sample)


def nameless(sample, rng):
    return Lazy(sample, nameless=True)


constant = 3
"""
_RIGHT = ("invert", "dither", "half", "swap", "slow")
_WRONG = ("moody", "twisted", "widened", "forgetful", "silent", "renamed", "ragged")
_HOSTILE = ("device", "exiting", "speechless", "mumbling", "lazy", "nameless")
NAMES = (*_RIGHT, *_WRONG, *_HOSTILE)


def write_package(folder: Path, name: str = "probe", version: str = "2.1") -> Path:
    """Write the package's source below `folder`; return it."""
    module = name.replace("-", "_")
    entries = "".join(f'{entry} = "{module}:{entry}"\n' for entry in (*NAMES, "constant"))
    folder.mkdir(parents=True)
    (folder / f"{module}.py").write_text(SOURCE, encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        f"""
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "{name}"
version = "{version}"
[project.entry-points."penstock.transforms"]
{entries}broken = "{module}_that_is_not_there:broken"
[tool.setuptools]
py-modules = ["{module}"]
""",
        encoding="utf-8",
    )
    return folder


def install(package: Path, target: Path) -> Path:
    """Install a package's folder into `target`, without network; return `target`, which belongs on Python's path."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--target"]
    done = subprocess.run([*pip, *options, target, package], capture_output=True, text=True, timeout=240, check=False)
    assert 0 == done.returncode, done.stderr
    return target


def unpack(target: Path, name: str = "probe", version: str = "2.1") -> Path:
    """Write into `target` what pip leaves of the package: quicker than `install`, and without what builds packages."""
    info = target / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (target / f"{name}.py").write_text(SOURCE, encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    entries = "".join(f"{entry} = {name}:{entry}\n" for entry in NAMES)
    (info / "entry_points.txt").write_text(f"[penstock.transforms]\n{entries}", encoding="utf-8")
    return target
