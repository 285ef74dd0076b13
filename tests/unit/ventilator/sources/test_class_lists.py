"""Class lists of a spec's streams: when a label means one class everywhere, and what is said when it does not."""

import re
from typing import Any

import pytest
from support.plans import make_plan

from penstock.protocol.errors import SourceError
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.sources.class_lists import check_class_lists


def plans(*lists: tuple[str, ...], given: tuple[bool, ...] = ()) -> list[StreamPlan]:
    """Return the plans of streams with these classes; `given`: which have `source.classes`."""
    made = []
    for name, classes, fixed in zip(("train", "validation", "test"), lists, given or (False,) * 3, strict=False):
        plan = make_plan(name=name)
        source = plan.settings.source.model_copy(update={"classes": classes if fixed else None})
        settings = plan.settings.model_copy(update={"source": source})
        made.append(plan.model_copy(update={"classes": classes, "settings": settings}))
    return made


@pytest.mark.parametrize(
    "lists",
    [
        (("cat", "dog"), ("cat", "dog")),
        (("aardvark", "cat", "dog"), ("aardvark", "cat")),
        (("cat", "dog"), ()),
        (("cat", "dog"), ("0", "1", "2")),
        (("0", "1"), ("0", "1", "2"), ("0",)),
    ],
)
def test_lists_that_number_alike_say_nothing(lists: Any) -> None:
    """A stream that lacks the last classes, has none, or only numbers them, disagrees with nothing."""
    assert [] == check_class_lists(plans(*lists))


def test_a_class_with_two_numbers_is_refused_by_name() -> None:
    """Labels of the one stream would mean other classes in the other: it says which names differ, and what to do."""
    words = (
        "streams 'train' and 'validation' number their classes differently: 'cat' is 1 and 0 (only in 'train': "
        "'aardvark', 'dog'; only in 'validation': 'zebra'); give both streams one list, such as source.classes = "
        "['aardvark', 'cat', 'dog', 'zebra']"
    )
    with pytest.raises(SourceError, match=re.escape(words)):
        check_class_lists(plans(("aardvark", "cat", "dog"), ("cat", "zebra")))
    with pytest.raises(SourceError, match="'train' and 'test'"):
        check_class_lists(plans(("a", "b"), ("a",), ("b", "a")))


def test_numbers_that_were_chosen_are_only_warned_of() -> None:
    """A list was written by hand, in one stream or in both, so its numbers are a choice."""
    [warning] = check_class_lists(plans(("a", "b"), ("b",), given=(False, True)))
    assert "'b' is 1 and 0" in warning
    assert "source.classes = ['a', 'b']" in warning
    [warning] = check_class_lists(plans(("a", "b"), ("b", "a"), given=(True, True)))
    assert "'a' is 0 and 1, and 1 more classes" in warning


def test_a_number_of_two_classes_is_warned_of() -> None:
    """The streams may have nothing to do with each other; if they have, the list is what helps."""
    [warning] = check_class_lists(plans(("cat", "dog"), ("cat", "zebra")))
    assert "label 1 is 'dog' in one and 'zebra' in the other" in warning
    assert "source.classes = ['cat', 'dog', 'zebra']" in warning
