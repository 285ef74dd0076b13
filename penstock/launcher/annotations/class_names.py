"""Reads the names of a YOLO data set's classes: from `data.yaml` and the like, or from `classes.txt`.

Of YAML it reads only the list `names`, in the forms that tools write: one line in brackets, a line for each name, or a
line for each number and name. All else in the file does not matter here.
"""

import re
from pathlib import Path

from penstock.protocol.errors import SpecError

_NAMES = re.compile(r"^names:[ \t]*(?P<rest>.*)$", re.MULTILINE)
#: A line of the list: `- cat`, or `0: cat`.
_ENTRY = re.compile(r"^[ \t]*(?:-|\d+[ \t]*:)[ \t]+(?P<name>.+?)[ \t]*$")
_NUMBERED = re.compile(r"^\d+[ \t]*:[ \t]*")


def yolo_names(place: Path, labels: Path) -> list[str]:
    """Return the names of classes in label order. Raises SpecError if no file lists them, or in another form."""
    for file in sorted(place.glob("*.y*ml")):
        text = file.read_text(encoding="utf-8-sig")
        if match := _NAMES.search(text):
            if names := _listed(match["rest"], text[match.end() + 1 :]):
                return names
            raise SpecError(f"{file}: names = {match['rest'][:60]!r}: give a list such as names: [cat, dog]")
    for file in (place / "classes.txt", labels / "classes.txt", place / "labels.txt", place / "obj.names"):
        if file.is_file() and (names := file.read_text(encoding="utf-8-sig").split("\n")):
            return [name.strip() for name in names if name.strip()]
    raise SpecError(
        f"{place}: looks like YOLO's layout, and no file names its classes: give data.yaml with names: [cat, dog], or "
        "classes.txt with a name a line"
    )


def _listed(rest: str, below: str) -> list[str]:
    rest = _uncommented(rest)
    if rest.startswith("["):
        whole = rest if "]" in rest else rest + below
        return [_unquoted(name) for name in whole[1 : whole.find("]")].split(",") if name.strip()]
    if rest.startswith("{") and rest.endswith("}"):
        return [_unquoted(_NUMBERED.sub("", name.strip())) for name in rest[1:-1].split(",") if name.strip()]
    names = []
    for line in below.splitlines() if not rest else ():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = _ENTRY.match(_uncommented(line))
        if entry is None:
            break
        names.append(_unquoted(entry["name"]))
    return names


def _uncommented(line: str) -> str:
    return re.sub(r"(^|[ \t])#.*$", "", line).rstrip()


def _unquoted(name: str) -> str:
    name = name.strip()
    quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "'\""
    return name[1:-1] if quoted else name
