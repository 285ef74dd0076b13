"""Prints what an image must hold in addition to Penstock, one requirement a line, from pyproject.toml.

    python requirements.py [base] [EXTRA ...] > requirements.txt

Run while images are built, before the source is copied: an edit of the source then installs no dependency again. Needs
the standard library only.
"""

import sys
import tomllib
from pathlib import Path


def main() -> None:
    """Print the requirements of the extras named as arguments; `base` is what every part needs."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"base": project["dependencies"], **project["optional-dependencies"]}
    for name in sys.argv[1:]:
        if name not in groups:
            sys.exit(f"requirements.py: no extra {name!r}; there are: {', '.join(groups)}")
        print(*groups[name], sep="\n")


if __name__ == "__main__":
    main()
