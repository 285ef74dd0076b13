"""What class a label names, and how classes are sorted: one rule for text and every type of number."""

from decimal import Decimal

import numpy as np
import pytest

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.labels import GivenClasses, class_name, number_labels, sorted_classes


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ((3, 3.0, "3", "3.0", "+3", np.int64(3), np.float32(3), Decimal("3.00")), "3"),
        ((0, -0.0, "-0", "0.000", False, np.bool_(0)), "0"),
        ((-1, -1.0, "-1", "-1.0", np.int8(-1)), "-1"),
        ((0.1, np.float32(0.1), np.float16(0.1), "0.10", Decimal("0.1")), "0.1"),
        ((1e20, 10**20, "1" + "0" * 20), "1" + "0" * 20),
    ],
)
def test_equal_numbers_are_one_class(labels: tuple[object, ...], name: str) -> None:
    """Whatever type a file or a frame gives them, and however text spells them."""
    assert {name} == {class_name(label, "label") for label in labels}


@pytest.mark.parametrize("name", ["007", "00", "1e3", "nan", "3.", ".5", "cat", "3 ", "٣", "-"])
def test_other_text_is_a_name(name: str) -> None:
    """Identifiers with leading zeros are not numbers: their spelling matters."""
    assert name == class_name(name, "label")


@pytest.mark.parametrize("label", [None, float("nan"), np.float32("inf"), Decimal("NaN"), [1], b"cat", 1j])
def test_what_is_no_label_is_refused(label: object) -> None:
    """The place and the value are quoted."""
    with pytest.raises(SourceError, match=r"row 7: label = .*: a label must be text or a finite number"):
        class_name(label, "row 7: label")


def test_classes_that_were_given_match_by_spelling_then_by_value() -> None:
    """So a list may spell a number as the file does or otherwise, and may tell '007' from '7'."""
    given = GivenClasses(("1.0", "007", "7", ""))
    found = [given.number(label, "label") for label in (1, "1.0", 1.0, "007", "7.0")]
    assert [0, 0, 0, 1, 2] == found
    with pytest.raises(SourceError, match=r"label = 8: not among source.classes \('1.0', '007', '7', ''\)"):
        given.number(np.int64(8), "label")


def test_labels_of_an_array_are_numbered_by_value() -> None:
    """Ten comes after nine and minus one before all; too many different ones are no classes."""
    labels = np.array([10, -1.0, 9, 0.5, 9])
    numbers, classes = number_labels(labels, None, "y.npy", 10)
    assert ("-1", "0.5", "9", "10") == classes
    assert [3, 0, 2, 1, 2] == numbers.tolist()
    assert sorted_classes(classes) == list(classes)
    with pytest.raises(SourceError, match=r"y.npy: 4 different labels, such as -1.0 and 0.5"):
        number_labels(labels, None, "y.npy", 3)
