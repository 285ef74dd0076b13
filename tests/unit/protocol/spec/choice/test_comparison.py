"""Comparisons of a column: what matches, and what is refused."""

import re
from typing import Any

import pytest

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.choice.comparison import Comparison


def matches(op: str, value: object, found: object) -> bool:
    """Return whether a row matches."""
    return Comparison.model_validate({"column": "c", "op": op, "value": value}).matches(found, "row 3: c")


@pytest.mark.parametrize(
    ("op", "value", "yes", "no"),
    [
        ("==", "train", ["train"], ["test", "Train", ""]),
        ("!=", "train", ["test"], ["train", None, ""]),
        ("==", 3, [3, 3.0, "3", "3.0"], [4, "4", None]),
        ("==", 0.1, [0.1, "0.1"], [0.10000000001]),
        (">=", 256, [256, 1000, "256"], [255, "-1", "", None, float("nan")]),
        ("<", 0.5, [0.25, -1, "0.4"], [0.5, 1]),
        (">", "b", ["c"], ["a", "b"]),
        ("<=", "b", ["a", "b"], ["c"]),
        ("in", ["a", "b"], ["a", "b"], ["c", None]),
        ("not in", [1, 2], [3, "4"], [1, "2", None]),
        ("==", True, [True, 1, "true", "True"], [False, "false"]),
    ],
)
def test_values_match_by_what_they_mean(op: str, value: object, yes: list[object], no: list[object]) -> None:
    """Numbers by value, also those that a CSV file has as text; a missing value matches nothing."""
    assert [True] * len(yes) == [matches(op, value, found) for found in yes]
    assert [False] * len(no) == [matches(op, value, found) for found in no]


@pytest.mark.parametrize(
    ("value", "found", "words"),
    [
        (3, "many", "row 3: c = 'many' is no number, and is compared with 3"),
        (3, [1], re.escape("row 3: c = [1] is no number")),
        ("train", 3, "row 3: c = 3 is no text, and is compared with 'train'"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_row(value: object, found: object, words: str) -> None:
    """Such a comparison is a mistake in the spec, or in the table."""
    with pytest.raises(SourceError, match=words):
        matches("==", value, found)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"op": "in", "value": 3}, "op = 'in' needs a list of values"),
        ({"op": "==", "value": [3]}, "op = '==' needs one value, not a list"),
        ({"op": "<", "value": True}, "op = '<' orders numbers or text, not true and false"),
        ({"op": "<", "value": float("inf")}, "value must be a finite number"),
        ({"op": "~", "value": 3}, "op"),
    ],
)
def test_a_comparison_that_means_nothing_is_refused(fields: dict[str, Any], words: str) -> None:
    """When the spec is read."""
    with pytest.raises(ValueError, match=words):
        Comparison.model_validate({"column": "c", **fields})
