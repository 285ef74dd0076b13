"""The package as it is built, installed and checked. Knows folders and configuration, not what the modules do."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import penstock

#: Seconds that a build or a checker may take on a busy machine.
RUN_LIMIT_S = 300
#: Processor seconds that `import penstock` may take, over what a bare interpreter takes.
IMPORT_LIMIT_S = 0.3


def run(command: list[str | Path], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return its status and output."""
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_LIMIT_S,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def settings(root: Path) -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folders(settings: dict[str, Any]) -> dict[str, str]:
    """Return the folder at the top of each mapped package."""
    mapped: dict[str, str] = settings["tool"]["setuptools"]["package-dir"]
    return mapped


def modules(root: Path, folders: dict[str, str]) -> dict[str, Path]:
    """Return every module file of every mapped folder, by its path in the wheel."""
    return {
        f"{package.replace('.', '/')}/{file.relative_to(root / folder).as_posix()}": file
        for package, folder in folders.items()
        for file in (root / folder).rglob("*.py")
    }


def test_every_folder_with_an_init_file_is_mapped_to_a_package(root: Path, folders: dict[str, str]) -> None:
    """A part that package-dir does not name would be missing from every install."""
    expected = {file.parent.name for file in root.glob("*/__init__.py")}
    assert expected == set(folders.values())


@pytest.mark.parametrize("compiler", [pytest.param(None, marks=pytest.mark.slow), "/bin/false", "/no/such/compiler"])
def test_the_wheel_holds_every_module(
    root: Path, folders: dict[str, str], tmp_path: Path, compiler: str | None
) -> None:
    """Every .py file of every folder is in the wheel under its import name, with the type marker and the licence.

    Without a C compiler too: then only the extension is missing.
    """
    # Built from a copy: setuptools writes build/lib into the tree, and takes deleted modules back from there.
    for folder in folders.values():
        shutil.copytree(root / folder, tmp_path / "tree" / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(root / name, tmp_path / "tree" / name)

    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-index", "--no-deps"]
    environment = {} if compiler is None else {"CC": compiler}
    built = run([*pip, "--no-build-isolation", "-w", tmp_path, tmp_path / "tree"], tmp_path, **environment)

    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = set(modules(root, folders))
    assert expected, "no module found: the test looks in the wrong place"
    assert expected == {name for name in held if name.endswith(".py")}
    assert "penstock/py.typed" in held
    page = {path.name for path in (root / "ventilator" / "dashboard" / "assets").iterdir()}
    assert {f"penstock/ventilator/dashboard/assets/{name}" for name in page} <= held, "the dashboard's page"
    if compiler is not None:
        assert not [name for name in held if name.endswith(".so")]
    assert f"penstock-{penstock.__version__}.dist-info/licenses/LICENSE" in held


def test_the_installed_version_is_the_one_that_the_code_names() -> None:
    """The metadata and penstock.__version__ cannot differ."""
    assert penstock.__version__ == importlib.metadata.version("penstock")


def test_import_penstock_is_light(tmp_path: Path) -> None:
    """The public face loads in under 0.3 s, and TensorFlow, Keras, OpenCV and pyarrow wait until they are asked for."""
    probe = (
        "import sys, time; start = time.process_time(); import penstock; "
        "spent = time.process_time() - start; "
        "print(spent, *sorted({'tensorflow', 'keras', 'cv2', 'pyarrow'} & set(sys.modules)))"
    )
    spent_s: list[float] = []
    for _ in range(3):
        result = run([sys.executable, "-W", "error", "-c", probe], tmp_path)
        assert result.returncode == 0, result.stderr
        seconds, *heavy = result.stdout.split()
        assert heavy == []
        spent_s.append(float(seconds))
    # Processor time and the best of three: what else the machine does must not fail the test.
    assert min(spent_s) < IMPORT_LIMIT_S


def test_a_bare_import_of_a_part_is_refused_by_the_linter(root: Path, folders: dict[str, str]) -> None:
    """`import worker` and `from worker import x` work in the repository by accident: ruff bans them, for every part."""
    parts = sorted(folder for folder in folders.values() if folder != "penstock")
    ruff = Path(sys.executable).with_name("ruff")
    for part in parts:
        for line in (f"import {part}", f"from {part} import service"):
            result = subprocess.run(
                [ruff, "check", "--select", "TID251", "--no-cache", "--stdin-filename", "probe.py", "-"],
                input=f"{line}\n",
                cwd=root,
                capture_output=True,
                text=True,
                check=False,
                timeout=RUN_LIMIT_S,
            )
            assert (1, True) == (result.returncode, f"`{part}` is banned" in result.stdout), line


def test_the_linter_examines_every_module(root: Path, folders: dict[str, str]) -> None:
    """No module is excluded from ruff, and the generated link folder is not examined a second time."""
    shown = run([Path(sys.executable).with_name("ruff"), "check", "--show-files", "."], root)
    assert shown.returncode == 0, shown.stderr
    examined = {Path(line) for line in shown.stdout.splitlines()}
    assert set() == set(modules(root, folders).values()) - examined
    assert [] == [file for file in examined if file.is_relative_to(root / "build")]


def test_the_type_check_fails_when_it_examined_no_file(root: Path, tmp_path: Path) -> None:
    """A wrong path must not look like clean code."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(root / ".ci" / "check_types.py", tmp_path / ".ci")
    (tmp_path / "pyproject.toml").write_text('[tool.setuptools.package-dir]\npenstock = "penstock"\n')
    (tmp_path / "penstock").mkdir()

    result = run([sys.executable, ".ci/check_types.py"], tmp_path)

    assert result.returncode == 1
    assert "no Python file below build/ns/penstock" in result.stdout


@pytest.mark.slow
def test_the_type_check_finds_an_error_in_a_part(root: Path, folders: dict[str, str], tmp_path: Path) -> None:
    """Both checkers see a part under its import name: a call across parts with a wrong type is reported by each."""
    tree = tmp_path / "a tree"
    (tree / ".ci").mkdir(parents=True)
    shutil.copy(root / ".ci" / "check_types.py", tree / ".ci")
    shutil.copy(root / "pyproject.toml", tree)
    for folder in folders.values():
        (tree / folder).mkdir()
        (tree / folder / "__init__.py").write_text('"""A part."""\n')
    (tree / "protocol" / "double.py").write_text(
        '"""Doubles."""\n\n\ndef double(count: int) -> int:\n    """Double."""\n    return 2 * count\n'
    )
    (tree / "worker" / "use.py").write_text(
        '"""Uses."""\n\nfrom penstock.protocol.double import double\n\nresult = double("two")\n'
    )

    result = run([sys.executable, ".ci/check_types.py"], tree)

    assert result.returncode == 1
    mypy, _, pyright = result.stdout.partition("source files)\n")
    assert re.search(r"worker/use\.py:5: error: .*\[arg-type\]", mypy), result.stdout
    assert re.search(r"^worker/use\.py:5: error: (.|\n)*\[reportArgumentType\]$", pyright, re.MULTILINE), result.stdout
    # Both examined every file, in a folder with a space in its name.
    assert "files, but there are" not in result.stdout


def test_the_constraints_pin_every_dependency_by_name_and_version_alone(root: Path, settings: dict[str, Any]) -> None:
    """Each direct dependency is pinned, and no line holds an address or a path."""
    tier = root / "tests" / "pytorch"
    pages = [root / "constraints.txt", tier / "requirements.txt", tier / "constraints.txt"]
    pages.append(root / "tests" / "engines" / "requirements.txt")
    pages += sorted((root / "tests" / "composer").glob("*.txt"))
    lines = [
        line for page in pages for line in page.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    assert [] == [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)]
    pinned = {normalized(line.partition("==")[0]) for line in lines}

    extras: dict[str, list[str]] = settings["project"]["optional-dependencies"]
    wanted = [
        *settings["build-system"]["requires"],
        *settings["project"]["dependencies"],
        *(requirement for group in settings["dependency-groups"].values() for requirement in group),
        # `tf` is the GPU build of what `tf-cpu` installs: never both, and the constraints hold the one that make uses.
        *(requirement for extra, requirements in extras.items() if extra != "tf" for requirement in requirements),
    ]
    names = {normalized(re.split(r"[\s\[<>=!~;]", requirement)[0]) for requirement in wanted}
    assert set() == names - pinned


def normalized(name: str) -> str:
    """Return a package name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
