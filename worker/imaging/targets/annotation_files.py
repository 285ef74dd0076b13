"""Reads the objects in annotation files: YOLO's text and Pascal VOC's XML. Every error quotes line or object."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree as ET

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.targets.cells import shown

#: An object's name for messages, and `[x, y, x, y, class]` or what stands for it.
Named = tuple[str, Any]
#: Reads the objects of a file.
Objects = Callable[[bytes], Iterator[Named]]
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def objects_of(read: Objects, cell: str, content: bytes | ItemError | None) -> list[Named]:
    """Return the objects in the file that a cell names; of an empty cell, none. Raises ItemError."""
    if not cell:
        return []
    try:
        if isinstance(content, ItemError):
            raise content
        return [(f"{shown(cell)}, {name}", value) for name, value in read(content or b"")]
    except ItemError as error:
        raise ItemError(f"{shown(cell)}: {error}") from error


def text_of(content: bytes) -> str:
    """Return a file's text. Raises ItemError."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ItemError(f"not UTF-8 text: {error}") from error


def yolo_objects(content: bytes) -> Iterator[Named]:
    """Yield the objects of a YOLO file, one a line: class number, then numbers. Raises ItemError."""
    for number, line in enumerate(text_of(content).splitlines(), 1):
        if not line.strip():
            continue
        where = f"line {number} = {shown(line.strip())!r}"
        try:
            label, *numbers = [json.loads(word) for word in line.split()]
        except ValueError as error:
            raise ItemError(f"{where}: must be numbers: class, then coordinates") from error
        yield where, [*numbers, label]


def voc_objects(content: bytes) -> Iterator[Named]:
    """Yield the objects of a VOC file. Raises ItemError.

    VOC counts pixels from 1, and a box holds its last pixel; here it ends where that pixel ends.
    """
    text = text_of(content)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # no annotation tool writes them; an entity may unfold to gigabytes
        raise ItemError("has a document type, which is not read: remove it")
    try:
        root = ET.fromstring(text)  # noqa: S314 - without entities, see above
    except ET.ParseError as error:
        raise ItemError(f"not valid XML: {error}") from error
    for number, found in enumerate(root.iter("object")):
        name = (found.findtext("name") or "").strip()
        sides = [_number(found.findtext(f"bndbox/{side}")) for side in _SIDES]
        where = f"object {number} = {name!r} ({', '.join(map(str, sides))})"
        if not all(isinstance(side, int | float) for side in sides):
            raise ItemError(f"{where}: bndbox must have the numbers {', '.join(_SIDES)}")
        yield where, [sides[0] - 1, sides[1] - 1, *sides[2:], name]


def _number(text: str | None) -> Any:  # noqa: ANN401 - a number, or what is none
    try:
        return float(text or "")
    except ValueError:
        return text
