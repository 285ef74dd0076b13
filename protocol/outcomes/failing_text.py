"""How many failures one message bears: each names a file and gives a reason, of any length."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from penstock.protocol.messages import Failed, Failure

#: Failed items that one message names without a word on each: some megabytes.
MOST_BARE = 100_000
#: What is told of a task without a word on each item: its ordinal, and the offsets and indices of the items.
Bare = tuple[int, tuple[int, ...], tuple[int, ...]]
#: The reason of a failure of which the item alone is known.
UNEXPLAINED = "failed before the ventilator was started again: the ledger of another sink has the reason"

#: Characters of the failures in one message, at most; of a reason, where one task's failures are more than that.
_MOST_TEXT, _SHORT = 1_000_000, 200


def fitting(failures: Sequence[Failure]) -> int:
    """Return how many of these failures one message may bear."""
    text = 0
    for count, failure in enumerate(failures):
        text += _length(failure)
        if text > _MOST_TEXT:
            return count
    return len(failures)


def failed_in(failed: Iterable[tuple[int, Collection[Failure]]]) -> tuple[tuple[Failed, ...], set[int]]:
    """Return as many failures of settled tasks as one message bears, task by task; and the tasks left out.

    The first task is never left out, or the ventilator would never hear of it: if need be, its reasons are cut short.
    """
    found: list[Failed] = []
    left_out: set[int] = set()
    text = 0
    for ordinal, failures in failed:
        text += 0 if left_out else sum(map(_length, failures))
        if left_out or (found and text > _MOST_TEXT):
            left_out.add(ordinal)
            continue
        told = failures if text <= _MOST_TEXT else map(_shortened, failures)
        found += [Failed(ordinal=ordinal, failure=failure) for failure in told]
    return tuple(found), left_out


def bare_in(failed: Iterable[tuple[int, Mapping[int, Failure]]], most: int) -> tuple[tuple[Bare, ...], set[int]]:
    """Return which items of settled tasks failed, at most so many of them, task by task; and the tasks left out."""
    found: list[Bare] = []
    left_out: set[int] = set()
    for ordinal, failures in failed:
        most -= len(failures)
        if most < 0:
            left_out.add(ordinal)
        else:
            offsets = sorted(failures)
            found.append((ordinal, tuple(offsets), tuple([failures[offset].item for offset in offsets])))
    return tuple(found), left_out


def unexplained(bare: Bare) -> dict[int, Failure]:
    """Return the failures of a task, by offset, of which only the items are known."""
    _, offsets, items = bare
    return {
        offset: Failure(offset=offset, item=item, path="", reason=UNEXPLAINED)
        for offset, item in zip(offsets, items, strict=True)
    }


def _length(failure: Failure) -> int:
    return 200 + len(failure.path) + len(failure.reason) + len(failure.worker)


def _shortened(failure: Failure) -> Failure:
    return failure.replaced(reason=failure.reason[:_SHORT])
