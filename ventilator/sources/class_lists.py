"""Compares the class lists of a spec's streams: a label is a number, and one number should mean one class."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from penstock.protocol.errors import SourceError
from penstock.protocol.plan import StreamPlan

#: Most names that a message lists.
_SHOWN = 10


def check_class_lists(plans: Sequence[StreamPlan]) -> list[str]:
    """Compare each two streams; return warnings. A list that merely goes on where the other one ends is fine.

    Raises SourceError if a class has different numbers in two streams of which neither fixes them by `source.classes`.
    """
    named = [plan for plan in plans if not _unnamed(plan.classes)]
    return [warning for first, second in combinations(named, 2) for warning in _compare(first, second)]


def _unnamed(classes: Sequence[str]) -> bool:
    """Return whether the classes are only numbered: such a list cannot disagree with another one."""
    return all(name == str(number) for number, name in enumerate(classes))


def _compare(first: StreamPlan, second: StreamPlan) -> Iterator[str]:
    """Yield a warning if a number means different classes. Raises SourceError if a class has different numbers."""
    numbers = {name: number for number, name in enumerate(second.classes)}
    moved = [
        (name, number, numbers[name])
        for number, name in enumerate(first.classes)
        if numbers.get(name, number) != number
    ]
    streams = f"streams {first.name!r} and {second.name!r}"
    if moved:
        name, here, there = moved[0]
        others = f", and {len(moved) - 1} more classes" if len(moved) > 1 else ""
        text = (
            f"{streams} number their classes differently: {name!r} is {here} and {there}{others}{_lists(first, second)}"
        )
        text = f"{text}; {_advice(first, second)}"
        if first.settings.source.classes is None and second.settings.source.classes is None:
            raise SourceError(text)
        yield text
        return
    for number, (one, other) in enumerate(zip(first.classes, second.classes, strict=False)):
        if one != other:
            yield (
                f"{streams}: label {number} is {one!r} in one and {other!r} in the other{_lists(first, second)}; if "
                f"labels of both meet, {_advice(first, second)}"
            )
            return


def _lists(first: StreamPlan, second: StreamPlan) -> str:
    """Return the names that only one of the streams has, in brackets."""
    found = []
    for plan, other in ((first, second), (second, first)):
        known = set(other.classes)
        if only := [name for name in plan.classes if name not in known]:
            found.append(f"only in {plan.name!r}: {_some(only)}")
    return f" ({'; '.join(found)})" if found else ""


def _advice(first: StreamPlan, second: StreamPlan) -> str:
    union = sorted({*first.classes, *second.classes}, key=str.encode)
    if len(union) > _SHOWN:
        return "give both streams one list as source.classes"
    return f"give both streams one list, such as source.classes = {union!r}"


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names[:_SHOWN]))
    return f"{listed} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else listed
