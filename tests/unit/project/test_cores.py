"""The border between cores and shells: cores do no I/O, shells change no core and handle every instruction."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

#: Modules that reach a socket, a clock, a thread, a process or an event loop.
FORBIDDEN = {
    *(
        "asyncio",
        "concurrent",
        "datetime",
        "http",
        "multiprocessing",
        "queue",
        "sched",
        "select",
        "selectors",
        "signal",
    ),
    *("signal", "socket", "socketserver", "ssl", "subprocess", "threading", "time", "uvicorn", "zmq", "h5py", "fsspec"),
}
#: The cores' classes, and the shells around them, simulated ones included.
CORES = {"Leases", "Assembly", "WorkerSession", "Session", "Recording"}
SHELLS = (
    "ventilator/service.py",
    "sink/service.py",
    "worker/service.py",
    "trainer/client/link.py",
    "tests/simulation/processes.py",
    "tests/simulation/worker_process.py",
    "tests/simulation/trainer_process.py",
)


def pure_modules(root: Path) -> list[Path]:
    """Return the modules that docs/architecture.md says have no I/O."""
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \| `penstock[.\w]*` \|[^|]*\|([^|]*)\|$", page, re.MULTILINE)
    found = []
    for folder, cell in rows:
        for name in re.findall(r"`([\w/.]+)`", cell):
            path = root / folder / name
            assert path.exists(), f"docs/architecture.md names {folder}/{name}, which is not there"
            found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Return the full names of what a module imports when it runs; names for type checkers only are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    found: list[str] = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(found)


def reached(root: Path, start: Path) -> Iterator[tuple[str, str]]:
    """Yield what a module imports, also through modules of Penstock: the importing file and the imported name."""
    waiting, seen = [start], {start}
    while waiting:
        path = waiting.pop()
        for name in imports(path):
            yield str(path.relative_to(root)), name
            parts = name.split(".")
            for length in range(2, len(parts) + 1) if parts[0] == "penstock" else ():
                file = root.joinpath(*parts[1:length]).with_suffix(".py")
                if file.exists() and file not in seen:
                    seen.add(file)
                    waiting.append(file)


def test_the_modules_that_the_docs_call_pure_reach_no_io(root: Path) -> None:
    """No socket, clock, thread or event loop, not even through what they import."""
    modules = pure_modules(root)
    names = {str(path.relative_to(root)) for path in modules}
    assert {"ventilator/core/leases.py", "sink/core/assembly.py", "worker/session.py"} <= names
    assert "trainer/client/session.py" in names
    faults = {
        f"{path.relative_to(root)}: {through} imports {name}"
        for path in modules
        for through, name in reached(root, path)
        if name.split(".")[0] in FORBIDDEN
    }
    assert set() == faults


def chain(node: ast.expr) -> str:
    """Return a dotted name as text, and anything else as an empty one."""
    return ast.unparse(node) if re.fullmatch(r"[\w.]+", ast.unparse(node)) else ""


def assigned_in_cores(source: str) -> list[str]:
    """Return the assignments of a shell that change a field of a core."""
    tree = ast.parse(source)
    cores, targets = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            left = node.targets if isinstance(node, ast.Assign) else [node.target]
            targets += [
                each for target in left for each in (target.elts if isinstance(target, ast.Tuple) else [target])
            ]
            if isinstance(node.value, ast.Call) and chain(node.value.func) in CORES:
                cores |= {chain(each) for each in left}
    assert cores, "no core was found in this shell"
    return [chain(each) for each in targets if any(chain(each).startswith(f"{core}.") for core in cores)]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_assigns_no_field_of_a_core(root: Path, shell: str) -> None:
    """Statistics, restarts, paths and plans come in as arguments or events."""
    assert [] == assigned_in_cores((root / shell).read_text(encoding="utf-8"))


def test_a_planted_assignment_is_found() -> None:
    """The check sees plain, nested and added assignments."""
    source = (
        "self._core = Leases(a)\nself._core.paths = b\nself._core.sink.live = c\nself._core.count += 1\nself.x = 1\n"
    )
    assert ["self._core.paths", "self._core.sink.live", "self._core.count"] == assigned_in_cores(source)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_handles_every_instruction(root: Path, shell: str) -> None:
    """The match over instructions ends in assert_never, so that a type checker finds one that is forgotten."""
    tree = ast.parse((root / shell).read_text(encoding="utf-8"))
    matches = [
        match
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name == "_execute"
        for match in ast.walk(function)
        if isinstance(match, ast.Match)
    ]
    assert matches, "no match over instructions was found"
    assert {"assert_never(instruction)"} == {ast.unparse(match.cases[-1].body[0]) for match in matches}
