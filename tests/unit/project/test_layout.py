"""`.ci/check_layout.py` finds what is planted: arrows against the floors, circles, long files, unseen modules."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: A small project of the real one's shape.
MODULES = {
    "penstock/cli.py": "from penstock.launcher import stack\n",
    "penstock/launcher/stack.py": "from penstock.worker import service\n",
    "protocol/wire.py": "from penstock.protocol import errors\n",
    "protocol/errors.py": "",
    "protocol/transport/sockets.py": "",
    "protocol/storage/rows.py": "",
    "worker/service.py": "from penstock.worker.imaging import decode\n",
    "worker/imaging/decode.py": "from penstock.protocol.wire import Array\n",
    "sink/service.py": "from penstock.protocol.wire import Array\n",
}
PARTS = {"penstock": "penstock", "penstock.protocol": "protocol", "penstock.worker": "worker", "penstock.sink": "sink"}


class Project:
    """The small project, with the repository's own scripts."""

    def __init__(self, root: Path, folder: Path) -> None:
        """Write it."""
        self.folder = folder
        (folder / ".ci").mkdir()
        for script in ("check_layout.py", "check_types.py"):
            shutil.copy(root / ".ci" / script, folder / ".ci")
        mapped = "\n".join(f'"{package}" = "{part}"' for package, part in PARTS.items())
        self.write("pyproject.toml", f"[tool.setuptools.package-dir]\n{mapped}\n")
        for name, text in MODULES.items():
            self.write(name, text)
            for parent in Path(name).parents[:-1]:
                self.write(str(parent / "__init__.py"), "")

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def check(self) -> tuple[int, list[str]]:
        """Run the check; return its exit status and what it said."""
        command = [sys.executable, str(self.folder / ".ci" / "check_layout.py")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, [line.removeprefix("layout: ") for line in done.stdout.splitlines()] or [done.stderr]


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Project:
    """Return a project without a fault."""
    return Project(root, tmp_path)


def test_a_project_without_a_fault_passes(project: Project) -> None:
    """Every module is counted: nine, their seven packages and the root."""
    assert (0, ["17 modules, 6 imports, 19 files"]) == project.check()


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (
            "protocol/wire.py",
            "import os\nfrom penstock.worker.imaging import decode\n",
            "penstock.protocol.wire, line 2: imports penstock.worker.imaging.decode, of a higher floor",
        ),
        (
            "sink/service.py",
            "def serve() -> None:\n    from penstock.launcher import stack\n",
            "penstock.sink.service, line 2: imports penstock.launcher.stack, of a higher floor",
        ),
        (
            "sink/service.py",
            "from penstock.worker import service\n",
            "penstock.sink.service, line 1: imports penstock.worker.service; sink and worker may not import each other",
        ),
        (
            "protocol/transport/sockets.py",
            "import penstock.protocol.storage.rows\n",
            (
                "penstock.protocol.transport.sockets, line 1: imports penstock.protocol.storage.rows; "
                "protocol.transport and protocol.storage may not import each other"
            ),
        ),
        (
            "worker/service.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import penstock\n",
            "penstock.worker.service, line 3: imports penstock, of a higher floor",
        ),
    ],
)
def test_an_arrow_against_the_floors_fails(project: Project, file: str, text: str, expected: str) -> None:
    """Also inside a function, and for types only; the fault is named with its line."""
    project.write(file, text)
    status, said = project.check()
    assert (1, expected) == (status, said[0])


def test_a_circle_between_modules_of_one_part_fails(project: Project) -> None:
    """The floors alone would allow it."""
    project.write("worker/imaging/decode.py", "from penstock.worker.imaging import resize\n")
    project.write("worker/imaging/resize.py", "from penstock.worker.imaging import pillow\n")
    project.write("worker/imaging/pillow.py", "from penstock.worker.imaging import decode\n")
    status, said = project.check()
    names = [f"penstock.worker.imaging.{name}" for name in ("decode", "resize", "pillow", "decode")]
    assert (1, f"{' imports '.join(names)}: a circle") == (status, said[0])


def test_a_module_on_no_floor_fails(project: Project) -> None:
    """A new package needs a place before it is checked at all."""
    project.write("penstock/attic/__init__.py", "")
    status, said = project.check()
    assert (1, "penstock.attic: stands on no floor: give it one in .ci/check_layout.py") == (status, said[0])


def test_a_module_that_was_not_examined_fails(project: Project) -> None:
    """A folder without `__init__.py` is invisible to the import graph, and is not taken for clean."""
    project.write("worker/extra/tool.py", "from penstock.launcher import stack\n")
    status, said = project.check()
    assert (1, "penstock.worker.extra.tool: was not examined") == (status, said[0])


def test_an_empty_project_fails(project: Project) -> None:
    """Nothing examined is not the same as nothing wrong."""
    for part in PARTS.values():
        shutil.rmtree(project.folder / part)
    project.write("penstock/__init__.py", "")
    status, said = project.check()
    assert (1, "no import was examined: is package-dir in pyproject.toml right?") == (status, said[0])


def test_what_is_too_long_or_too_full_fails(project: Project) -> None:
    """Files of source and tests, classes, and folders."""
    project.write("tests/test_long.py", "\n" * 301)
    project.write("worker/service.py", "class Long:\n" + "    a = 1\n" * 250)
    for number in range(19):
        project.write(f"sink/part_{number}.py", "")
    status, said = project.check()
    assert 1 == status
    assert [
        "worker/service.py:Long: 251 lines, at most 250: split it by what it does",
        "tests/test_long.py: 301 lines, at most 300: split it by what it does",
        "sink: 21 Python files, at most 20: make folders in it",
    ] == said[:3]
