"""Type check of every Python file, by mypy and pyright. Owns the link folder build/ns; the rules are in pyproject.toml.

The parts are folders at the top (`worker/`) that are imported as `penstock.worker`. Neither checker can follow that
mapping, so build/ns/penstock holds links that show each part under the name it is imported by. A checker that examined
another number of files than there are fails the check: a wrong path would else look like clean code.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE = Path("build/ns")
LINKS = NAMESPACE / "penstock"
#: Folders of scripts and tests, also examined. pyright skips hidden folders: .ci is seen through a link.
SCRIPTS = (Path("tests"), Path("benchmarks"), Path("docs"), Path("examples"), Path("deploy"), NAMESPACE / "ci")


def main() -> int:
    """Run both checkers in the repository's root and return the exit status."""
    os.chdir(ROOT)
    parts = part_folders()
    make_links(parts)
    folders = [LINKS if part == "penstock" else LINKS / part for part in parts]
    if empty := [str(folder) for folder in folders if not any(python_files(folder))]:
        print(f"types: no Python file below {', '.join(empty)}: is package-dir in pyproject.toml right?")
        return 1
    files = [file for folder in (LINKS, *SCRIPTS) for file in python_files(folder)]
    good = [run_mypy(files), run_pyright(files)]
    return 0 if all(good) else 1


def part_folders() -> list[str]:
    """Return the top-level folders that pyproject.toml maps to packages."""
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    return list(settings["tool"]["setuptools"]["package-dir"].values())


def make_links(parts: list[str]) -> None:
    """Bring the links up to date: in build/ns/penstock the files of penstock/, and each other part as a folder."""
    LINKS.mkdir(parents=True, exist_ok=True)
    wanted = {LINKS / file.name: file for file in Path("penstock").iterdir() if file.name != "__pycache__"}
    wanted |= {LINKS / part: Path(part) for part in parts if part != "penstock"}
    wanted[NAMESPACE / "ci"] = Path(".ci")
    for link in LINKS.iterdir():
        if link.name == "__pycache__":  # of a program that read docstrings here
            shutil.rmtree(link)
        elif link not in wanted or not link.exists():
            link.unlink()
    for link, target in wanted.items():
        if not link.is_symlink():
            link.symlink_to(Path(*[".."] * len(link.parent.parts)) / target)


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the Python files below a folder, through links."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (Path(parent, name) for name in sorted(files) if name.endswith((".py", ".pyi")))


def shown(text: str) -> str:
    """Return a checker's text with the files named as they are in the repository."""
    parts = "|".join(re.escape(part) for part in part_folders())
    text = re.sub(rf"build/ns/penstock/(?=(?:{parts})/)", "", text.replace(f"{ROOT}/", ""))
    return text.replace("build/ns/ci/", ".ci/").replace("build/ns/", "")


def run_mypy(files: list[Path]) -> bool:
    """Run mypy on the files; return whether it examined all of them and found nothing."""
    command = [sys.executable, "-m", "mypy", *map(str, files)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print("mypy:", shown(result.stdout), end="")
    found = re.search(r"(?:in|checked) (\d+) source files?", result.stdout)
    return examined_all("mypy", int(found[1]) if found else 0, len(files)) and result.returncode == 0


def run_pyright(files: list[Path]) -> bool:
    """Run pyright on the files; return whether it examined all of them without an error or a warning."""
    options = ["--pythonpath", sys.executable, "--warnings", "--outputjson"]
    command = [sys.executable, "-m", "pyright", *options, *map(str, files)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not result.stdout.startswith("{"):
        print("pyright:", result.stdout or f"no output, exit status {result.returncode}")
        return False
    report = json.loads(result.stdout)
    for problem in report["generalDiagnostics"]:
        line = problem.get("range", {"start": {"line": -1}})["start"]["line"] + 1
        rule = problem.get("rule", "no rule")
        print(shown(f"{problem['file']}:{line}: {problem['severity']}: {problem['message']} [{rule}]"))
    summary = report["summary"]
    print(f"pyright: {summary['errorCount']} errors in {summary['filesAnalyzed']} source files")
    return examined_all("pyright", summary["filesAnalyzed"], len(files)) and result.returncode == 0


def examined_all(checker: str, examined: int, expected: int) -> bool:
    """Return whether a checker examined every file, and say so if it did not."""
    if examined != expected:
        print(f"{checker}: examined {examined} files, but there are {expected}: see [tool.{checker}] in pyproject.toml")
    return examined == expected


if __name__ == "__main__":
    sys.exit(main())
