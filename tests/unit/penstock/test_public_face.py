"""The public face: what is listed, what is documented and what `penstock` has are the same."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.pages import documented

import penstock
from penstock.protocol import errors
from penstock.trainer.adapters import ADAPTERS

#: The modules that a bare `import penstock` imports, apart from three of the standard library.
LIGHT = {
    "penstock",
    "penstock.protocol",
    "penstock.protocol.version",
    "penstock.trainer",
    "penstock.trainer.adapters",
}


def submodules() -> list[str]:
    """Return the modules and packages directly below `penstock`."""
    return [module.name for module in pkgutil.iter_modules(penstock.__path__)]


def test_each_name_is_listed_once() -> None:
    """`__all__` and `dir` are the same list."""
    assert len(penstock.__all__) == len(set(penstock.__all__))
    assert sorted(penstock.__all__) == dir(penstock)


@pytest.mark.parametrize("name", penstock.__all__)
def test_each_listed_name_is_an_attribute(name: str) -> None:
    """Of the name that it is listed under."""
    value = getattr(penstock, name)
    if name in ADAPTERS:
        assert isinstance(value, ModuleType)
        assert value.__doc__
    elif name != "__version__":
        assert name == value.__name__
        assert inspect.getdoc(value)


def test_each_listed_name_is_documented_and_nothing_else_is(root: Path) -> None:
    """docs/python.md has a directive for each; `__version__` is mentioned in the text."""
    page = root / "docs" / "python.md"
    names = documented(page)
    of_adapters = {name for name in names if name.split(".")[1] in ADAPTERS and name.count(".") > 1}
    assert {name.split(".")[1] for name in of_adapters} == set(ADAPTERS), "each adapter's functions"
    assert sorted(f"penstock.{name}" for name in penstock.__all__ if name != "__version__") == sorted(
        set(names) - of_adapters
    )
    assert len(names) == len(set(names))
    assert "`penstock.__version__`" in page.read_text(encoding="utf-8")


def test_every_error_is_public() -> None:
    """A program can catch whatever Penstock raises without importing from inside it."""
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.PenstockError)
    }
    assert len(defined) > 10
    assert set() == defined - set(penstock.__all__)


def test_no_module_has_a_public_name() -> None:
    """Importing `penstock.x` sets the attribute `x` of `penstock`: a public function of that name would be gone."""
    assert {"cli", "launcher"} <= set(submodules())
    assert set() == set(penstock.__all__) & set(submodules())


def test_public_functions_stay_what_they_are_whatever_is_imported() -> None:
    """In a process of its own: every module directly below `penstock`, then the public names."""
    program = (
        "import importlib, pkgutil, types, penstock\n"
        "functions = penstock.local, penstock.connect\n"
        "for module in pkgutil.iter_modules(penstock.__path__):\n"
        "    if module.name != '__main__': importlib.import_module(f'penstock.{module.name}')\n"
        "import penstock.launcher.stack, penstock.protocol.spec.spec\n"
        "assert (penstock.local, penstock.connect) == functions\n"
        "assert all(isinstance(function, types.FunctionType) for function in functions)\n"
        "assert isinstance(penstock.Spec, type)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_wrong_name_is_an_attribute_error_that_suggests_the_right_one() -> None:
    """`hasattr` works, and the interpreter finds the name that was meant."""
    assert not hasattr(penstock, "Fed")
    assert not hasattr(penstock, "NoSuchError")
    done = subprocess.run(
        [sys.executable, "-c", "import penstock; penstock.conect"], capture_output=True, text=True, check=False
    )
    assert "module 'penstock' has no attribute 'conect'. Did you mean: 'connect'?" in done.stderr


def test_importing_penstock_imports_nothing_else() -> None:
    """Our version and the table of adapters, and nothing that is slow to import: names come when they are asked for.

    This is what keeps the import under 20 ms; a time would depend on the machine.
    """
    program = (
        "import collections.abc, importlib, sys, typing\n"
        "before = set(sys.modules)\n"
        "import penstock\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert LIGHT == set(done.stdout.split())


def test_the_modules_of_public_names_exist() -> None:
    """Type checkers read the imports; the interpreter reads the table: each name is in the module that it says."""
    for name in penstock.__all__:
        value = getattr(penstock, name)
        if isinstance(value, type):
            assert name in vars(importlib.import_module(value.__module__))
