"""What tests read from pages of documentation."""

import re
from pathlib import Path


def table_below(page: Path, heading: str) -> list[str]:
    """Return the names in backquotes that begin the rows of the first table below a heading."""
    _, found, rest = page.read_text(encoding="utf-8").partition(f"\n{heading}\n")
    assert found, f"{page.name} has no heading {heading!r}"
    section = rest.partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def documented(page: Path) -> list[str]:
    """Return the names that a page has documented from docstrings (`::: name`), in order."""
    return re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
