"""Labels, numbers and text of a stream: no step changes them, and bad ones are quarantined."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.imaging.detection import STEPS, by_name, failure, write_set

LABELS = {"kind": "labels", "column": "v", "classes": ["cat", "dog", "bird"]}
SCALAR = {"kind": "numbers", "column": "v"}
TEXT = {"kind": "text", "column": "v", "max_bytes": 12}


def value(root: Path, cell: object, target: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the one image whose cell this is, in a sample that random steps have changed."""
    write_set(root, 1, {0: {"v": cell}})
    found = by_name(root, [0], targets={"v": target}, steps=STEPS)
    return {name: array[0] for name, array in found.items() if name.startswith("v")}


@pytest.mark.parametrize(
    ("cell", "more", "expected"),
    [
        (["dog", 0], {}, [1, 1, 0]),
        ("", {}, [0, 0, 0]),
        ("bird; dog", {"separator": ";"}, [0, 1, 1]),
        ("", {"separator": ";"}, [0, 0, 0]),
    ],
)
def test_an_image_may_have_several_classes(
    tmp_path: Path, cell: object, more: dict[str, Any], expected: list[int]
) -> None:
    """By name or number, in a list or between separators: a 1 for each."""
    assert expected == value(tmp_path, cell, LABELS | more)["v"].tolist()


@pytest.mark.parametrize(
    ("cell", "dtype", "shape", "expected"),
    [
        (2.5, "float32", (), 2.5),
        ("-7", "int32", (), -7),
        (3.0, "uint8", (), 3),
        ([0.5, 1], "float64", (2,), [0.5, 1.0]),
        ([[1, 2], [3, 2**53 + 1]], "int64", (2, 2), [[1, 2], [3, 2**53 + 1]]),
    ],
)
def test_numbers_have_the_type_and_shape_of_the_spec(
    tmp_path: Path, cell: object, dtype: str, shape: tuple[int, ...], expected: Any
) -> None:
    """A single number, a vector, or a list of lists."""
    found = value(tmp_path, cell, SCALAR | {"dtype": dtype, "shape": shape})["v"]
    assert (dtype, expected) == (found.dtype.name, found.tolist())


@pytest.mark.parametrize(
    ("cell", "more", "expected"),
    [
        ("ein Fuß", {}, "ein Fuß"),
        ("", {}, ""),
        ([1, {"a": None}], {}, '[1, {"a": nu'),
        ("ab ßßßßßß", {"max_bytes": 8, "too_long": "cut"}, "ab ßß"),
        (7, {}, "7"),
    ],
)
def test_text_comes_as_utf_8_with_its_length(tmp_path: Path, cell: object, more: dict[str, Any], expected: str) -> None:
    """Padded with zeros; where it is cut, at a whole character; any other column is passed through as its JSON."""
    found = value(tmp_path, cell, TEXT | {"too_long": "cut"} | more)
    size = int(found["v_bytes"])
    assert expected == found["v"][:size].tobytes().decode()
    assert not found["v"][size:].any()
    assert np.uint8 == found["v"].dtype


@pytest.mark.parametrize(
    ("target", "cell", "reason"),
    [
        (LABELS, ["cat", "cow"], "label 1: class 'cow' is not known; classes: cat, dog, bird"),
        (LABELS, "cat", "'cat' is not JSON"),
        (LABELS | {"separator": ";"}, "cat;;dog", "label 1: class '' is not known"),
        (SCALAR, "", "the cell is empty: give a number"),
        (SCALAR, "many", "'many' is not JSON"),
        (SCALAR, float("nan"), "NaN: nan is no finite number"),
        (SCALAR, 1e300, r"1e\+300 is no finite number that float32 can hold"),
        (SCALAR | {"dtype": "uint8"}, 256, "256 is no finite number that uint8 can hold"),
        (SCALAR | {"dtype": "int32"}, 1.5, "1.5 is no finite number that int32"),
        (SCALAR, True, "true: must be a number"),
        (SCALAR | {"shape": [2]}, [1, 2, 3], r"\[1, 2, 3\]: must be numbers of shape \[2\]"),
        (SCALAR | {"shape": [2, 2]}, [[1, 2], [3]], "not all lists have the same length"),
        (TEXT, "far too long for it", "has 19 bytes, and max_bytes = 12"),
    ],
)
def test_bad_values_are_quarantined(tmp_path: Path, target: dict[str, Any], cell: object, reason: str) -> None:
    """The reason names the manifest, the line, the column and the value."""
    good = {"labels": "", "numbers": np.ones(target.get("shape", ()), int).tolist(), "text": ""}[target["kind"]]
    found = failure(tmp_path, {"v": cell}, {"v": target}, {"v": good})
    assert found.startswith("list.jsonl, line 2: v (target v): ")
    assert re.search(reason, found), found
