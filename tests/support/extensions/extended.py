"""A copy of the project that a test may add files to, as a contributor would: the same packages in another folder."""

import shutil
from pathlib import Path

PARTS = ("protocol", "sink", "trainer", "ventilator", "worker")


def copy_project(root: Path, folder: Path) -> Path:
    """Copy every package below `folder`, which may then stand first in PYTHONPATH; return the package `penstock`."""
    package = folder / "penstock"
    ignored = shutil.ignore_patterns("__pycache__", "*.c", "assets")
    shutil.copytree(root / "penstock", package, ignore=ignored)
    for part in PARTS:
        shutil.copytree(root / part, package / part, ignore=ignored)
    return package


def insert_after(file: Path, line: str, added: str) -> None:
    """Insert a line after the one line of a file that reads `line`."""
    text = file.read_text()
    assert 1 == text.count(line + "\n"), f"{file} no longer holds the line {line!r}"
    file.write_text(text.replace(line + "\n", f"{line}\n{added}\n"))
