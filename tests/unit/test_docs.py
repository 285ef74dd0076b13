"""The generated pages of docs/ say what the models say."""

import runpy
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["spec.md", "settings.md", "metrics.md"])
def test_the_reference_pages_are_what_the_models_generate(root: Path, name: str) -> None:
    """docs/*.md that are generated must be generated again when a field, default or docstring changes."""
    pages = runpy.run_path(str(root / "docs" / "generate.py"))["PAGES"]
    assert (root / "docs" / name).read_text(encoding="utf-8") == pages[name](), "run: python docs/generate.py"
