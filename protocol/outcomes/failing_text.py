"""How many failures one message bears: each names a file and gives a reason, of any length."""

from collections.abc import Collection, Iterable, Sequence

from penstock.protocol.messages import Failed, Failure

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


def _length(failure: Failure) -> int:
    return 200 + len(failure.path) + len(failure.reason) + len(failure.worker)


def _shortened(failure: Failure) -> Failure:
    return failure.replaced(reason=failure.reason[:_SHORT])
