"""Recognises manifests of annotated images: tables with a column of boxes, or of the paths of masks."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock.launcher.annotations.folders import Annotated, detection, segmentation
from penstock.sources.containers.columns import import_pyarrow
from penstock.sources.tables.formats import rows_of

#: Usual names of columns, and of the folder of masks.
_BOXES, _MASKS, _MASK_FOLDERS = ("boxes", "bboxes"), ("mask", "mask_path"), ("masks", "")
_LABEL = "label"
#: Numbers of a box, and what follows them if its class is named.
_NUMBERS = 4


def recognised_table(place: Path) -> Annotated | None:
    """Return what a manifest holds, if a column of its is called and filled as boxes or masks are; else None.

    Raises SourceError if it cannot be read.
    """
    columns = _columns(place)
    source = {"kind": "manifest", "path": place.name}
    sources = {"train": source if _LABEL in columns else source | {"label_column": ""}}
    for column in (name for name in _BOXES if name in columns):
        boxes = list(_boxes(place, column))
        if boxes and all(each is not None for each in boxes):
            classes = sorted({str(box[_NUMBERS]) for each in boxes for box in each or () if len(box) > _NUMBERS})
            if classes and all(len(box) > _NUMBERS for each in boxes for box in each or ()):
                return detection(sources, {"column": column}, classes, max(len(each or ()) for each in boxes))
    for column in (name for name in _MASKS if name in columns):
        names = [str(value) for value in _values(place, column)]
        for folder in _MASK_FOLDERS:
            files = [place.parent / folder / name for name in names]
            if files and all(file.is_file() for file in files):
                return segmentation(sources, files, column=column, folder=folder)
    return None


def _columns(place: Path) -> list[str]:
    """Return the names of a table's columns; none if it is no table."""
    try:
        if place.suffix.lower() in (".parquet", ".pq"):
            return list(import_pyarrow(str(place)).parquet.read_schema(place).names)
        with place.open(encoding="utf-8-sig") as file:
            first = file.readline()
        if place.suffix.lower() == ".csv":
            return [name.strip().strip('"') for name in first.rstrip("\r\n").split(",")]
        row = json.loads(first)
    except (OSError, ValueError):  # listing it says in words what is wrong
        return []
    return list(row) if isinstance(row, dict) else []


def _values(place: Path, column: str) -> Iterator[Any]:
    for _, (value,) in rows_of(os.fsencode(place), str(place), {column: "column"}):
        yield value


def _boxes(place: Path, column: str) -> Iterator[list[list[Any]] | None]:
    """Yield each row's boxes; None where a cell holds something else."""
    for value in _values(place, column):
        try:
            found = json.loads(value) if isinstance(value, str) and value else value or []
        except ValueError:
            found = None
        is_list = isinstance(found, list) and all(isinstance(box, list) and len(box) >= _NUMBERS for box in found)
        yield found if is_list else None
