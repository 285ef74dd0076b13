"""The generated pages of docs/ say what the models say."""

import re
import runpy
from pathlib import Path

import pytest

from penstock.cli import COMMANDS


@pytest.mark.parametrize("name", ["spec.md", "settings.md", "metrics.md"])
def test_the_reference_pages_are_what_the_models_generate(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """docs/*.md that are generated must be generated again when a field, default or docstring changes."""
    monkeypatch.syspath_prepend(root / "docs")  # as if it were run
    pages = runpy.run_path(str(root / "docs" / "generate.py"))["PAGES"]
    assert (root / "docs" / name).read_text(encoding="utf-8") == pages[name](), "run: python docs/generate.py"


def test_the_settings_of_every_command_are_in_the_reference(root: Path) -> None:
    """A command that is added gets a section; `keys` has one a command of its own."""
    page = (root / "docs" / "settings.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## `penstock (\S+)(?: \S+)?`$", page, re.MULTILINE)
    assert set(COMMANDS) == set(sections)
