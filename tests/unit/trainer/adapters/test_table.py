"""The table of adapters: each line leads to a module of functions over the protocols of batches."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from support.pages import documented, table_below

import penstock
from penstock.trainer import adapters
from penstock.trainer.adapters import ADAPTERS
from penstock.trainer.adapters.batches import BatchSource, ResumableSource
from penstock.trainer.client.feed import Feed
from penstock.trainer.hdf5.feed import Hdf5Feed


def imports(file: Path) -> set[str]:
    """Return the modules that a file imports, for type checkers too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
    return found


def test_the_table_names_every_adapter_once() -> None:
    """The table, the names for type checkers and the public face agree."""
    assert sorted(ADAPTERS) == sorted(adapters.__all__)
    assert set(ADAPTERS) <= set(penstock.__all__)
    assert len(ADAPTERS) == len(set(ADAPTERS.values()))


def test_every_adapter_is_documented(root: Path) -> None:
    """docs/python.md has a directive `::: penstock.NAME` for each."""
    assert {f"penstock.{name}" for name in ADAPTERS} <= set(documented(root / "docs" / "python.md"))


def test_an_adapter_imports_no_feed(root: Path) -> None:
    """Feeds offer adapters as methods, so an import in the other direction would be a circle."""
    files = sorted((root / "trainer" / "adapters").glob("*.py"))
    assert len(files) > len(ADAPTERS)
    feeds = ("penstock.trainer.feed", "penstock.trainer.client", "penstock.trainer.hdf5")
    assert {} == {file.name: names for file in files if (names := {n for n in imports(file) if n.startswith(feeds)})}


def test_an_adapter_is_imported_when_it_is_asked_for() -> None:
    """The table, the protocols and the feeds come without TensorFlow and Keras."""
    program = (
        "import sys, penstock\n"
        "penstock.Feed, penstock.Hdf5Feed, penstock.BatchSource, penstock.ResumableSource\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "penstock.trainer.adapters.batches" in modules
    assert set() == modules & {"tensorflow", "keras", *ADAPTERS.values()}


def test_an_adapter_is_added_by_a_module_and_a_line_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is then an attribute of `penstock`; a name without a line is none."""
    with pytest.raises(AttributeError, match="'penstock' has no attribute 'toy'"):
        _ = getattr(penstock, "toy")  # noqa: B009 - no type has it
    with pytest.raises(AttributeError, match="has no attribute 'toy'"):
        _ = getattr(adapters, "toy")  # noqa: B009 - no type has it
    monkeypatch.setitem(ADAPTERS, "toy", "support.extensions.toy_adapter")
    assert importlib.import_module("support.extensions.toy_adapter") is getattr(penstock, "toy")  # noqa: B009 - no type has it


def test_the_feeds_fulfil_the_protocols() -> None:
    """For type checkers: both feeds may be given to any adapter."""

    def accept(source: ResumableSource) -> BatchSource:
        return source

    def both(feed: Feed, file: Hdf5Feed) -> list[BatchSource]:
        return [accept(feed), accept(file)]

    assert callable(both)


def test_contributing_lists_the_files_of_an_adapter(root: Path) -> None:
    """The section names the new module, the table and the reference, and nothing else."""
    files = table_below(root / "CONTRIBUTING.md", "## Add an adapter")
    assert ["trainer/adapters/lumen.py", "trainer/adapters/__init__.py", "docs/python.md"] == files
    assert [False, True, True] == [(root / file).exists() for file in files]
