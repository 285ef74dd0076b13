"""Check of the layout: imports run down the floors and in no circle; files, classes and folders stay small.

grimp reads the import graph through the links of `check_types.py`, which show each part under the name it is imported
by. A graph without imports, or that lacks a module, fails the check: a wrong path would else look like clean code.
"""

import ast
import os
import runpy
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "penstock"

#: The floors, from the top. A module may import lower floors and its own. It belongs to the longest entry that it lies
#: in, without the leading "penstock."; "" is penstock/__init__.py alone.
FLOORS = (
    # The face: public names and commands.
    ("", "__main__", "cli", "commands", "bench", "demo", "trace", "ray"),
    ("image_data_generator",),
    ("launcher",),
    # The four parts: they meet on the wire only.
    ("ventilator", "worker", "sink", "trainer"),
    # What shows: clients of status and samples, contact sheets, the terminal.
    ("observe", "contact_sheet", "terminal"),
    # Pixels: decode, cut, manipulate, augment, read; without sockets.
    ("worker.imaging",),
    # Kinds of source: listings for the ventilator, readers for workers. `protocol.spec` names them as text.
    ("sources",),
    # The agreement. A service's main loop and its health page use sockets and keys: runtime lies above transport.
    ("protocol.runtime",),
    ("protocol.transport", "protocol.storage"),
    ("protocol",),
    ("protocol.spec", "protocol.errors", "protocol.version"),
)
#: Entries of one floor that may not import each other.
STRANGERS = ({"ventilator", "worker", "sink", "trainer"}, {"protocol.transport", "protocol.storage"})

#: Folders of Python code, besides the packages, whose sizes are checked.
SCRIPTS = ("tests", "benchmarks", "docs", "examples", "deploy", ".ci")
MOST_LINES, MOST_CLASS_LINES, MOST_FILES = 300, 250, 20


def main() -> int:
    """Check the repository that holds this script; return the exit status."""
    os.chdir(ROOT)
    types = runpy.run_path(str(ROOT / ".ci" / "check_types.py"))
    parts = types["part_folders"]()
    types["make_links"](parts)
    found = [path.relative_to(types["NAMESPACE"]) for path in types["python_files"](types["LINKS"])]
    modules = {".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in found}
    sys.path.insert(0, str(types["NAMESPACE"].resolve()))
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    measured = [path for folder in (*parts, *SCRIPTS) for path in sorted(Path(folder).rglob("*.py"))]
    problems = [*incomplete(graph, modules), *arrows(graph), *circles(graph), *sizes(measured)]
    for problem in problems:
        print(f"layout: {problem}")
    print(f"layout: {len(graph.modules)} modules, {graph.count_imports()} imports, {len(measured)} files")
    return 1 if problems else 0


def incomplete(graph: grimp.ImportGraph, modules: set[str]) -> Iterator[str]:
    """Yield why the graph does not cover every module."""
    if not modules or not graph.count_imports():
        yield "no import was examined: is package-dir in pyproject.toml right?"
    for module in sorted(modules ^ graph.modules):
        yield f"{module}: {'has no file' if module in graph.modules else 'was not examined'}"
    for module in sorted(graph.modules):
        if floor_of(module) is None:
            yield f"{module}: stands on no floor: give it one in .ci/check_layout.py"


def floor_of(module: str) -> tuple[int, str] | None:
    """Return a module's floor, 0 being the top, and the entry of it that the module lies in."""
    name = module.removeprefix(PACKAGE).removeprefix(".")
    found = [
        (len(entry), number, entry)
        for number, floor in enumerate(FLOORS)
        for entry in floor
        if name == entry or (entry and name.startswith(f"{entry}."))
    ]
    return max(found)[1:] if found else None


def arrows(graph: grimp.ImportGraph) -> Iterator[str]:
    """Yield each import from a lower floor to a higher one, or between strangers."""
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            here, there = floor_of(importer), floor_of(imported)
            if here is None or there is None or here[0] < there[0] or here[1] == there[1]:
                continue
            line = graph.get_import_details(importer=importer, imported=imported)[0]["line_number"]
            text = f"{importer}, line {line}: imports {imported}"
            if here[0] > there[0]:
                yield f"{text}, of a higher floor"
            elif any({here[1], there[1]} <= group for group in STRANGERS):
                yield f"{text}; {here[1]} and {there[1]} may not import each other"


def circles(graph: grimp.ImportGraph) -> Iterator[str]:
    """Yield circles of imports until none is left, breaking each that is found."""
    imports = {module: sorted(graph.find_modules_directly_imported_by(module)) for module in sorted(graph.modules)}
    while found := find_circle(imports):
        yield f"{' imports '.join(found)}: a circle"
        imports[found[0]] = [module for module in imports[found[0]] if module != found[1]]


def find_circle(imports: Mapping[str, Sequence[str]]) -> list[str]:
    """Return modules of which each imports the next, the last being the first; empty if there is no such circle."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def sizes(files: Sequence[Path]) -> Iterator[str]:
    """Yield files and classes that are too long, and folders that are too full."""
    for path in files:
        text = path.read_text(encoding="utf-8")
        if (lines := len(text.splitlines())) > MOST_LINES:
            yield f"{path}: {lines} lines, at most {MOST_LINES}: split it by what it does"
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ClassDef) or node.end_lineno is None:
                continue
            if (lines := node.end_lineno - node.lineno + 1) > MOST_CLASS_LINES:
                yield f"{path}:{node.name}: {lines} lines, at most {MOST_CLASS_LINES}: split it by what it does"
    for folder, count in Counter(path.parent for path in files).items():
        if count > MOST_FILES:
            yield f"{folder}: {count} Python files, at most {MOST_FILES}: make folders in it"


if __name__ == "__main__":
    sys.exit(main())
