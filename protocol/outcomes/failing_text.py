"""How many failures one message bears: each names a file and gives a reason, of any length."""

from collections.abc import Collection, Iterable, Sequence

from penstock.protocol.messages import Failed, Failure

#: Characters of the failures in one message, at most.
_MOST_TEXT = 1_000_000


def fitting(failures: Sequence[Failure]) -> int:
    """Return how many of these failures one message may bear."""
    text = 0
    for count, failure in enumerate(failures):
        text += 200 + len(failure.path) + len(failure.reason) + len(failure.worker)
        if text > _MOST_TEXT:
            return count
    return len(failures)


def failed_in(failed: Iterable[tuple[int, Collection[Failure]]]) -> tuple[tuple[Failed, ...], set[int]]:
    """Return as many failures of settled tasks as one message bears, task by task; and the tasks left out."""
    found: list[Failed] = []
    left_out: set[int] = set()
    for ordinal, failures in failed:
        more = [Failed(ordinal=ordinal, failure=failure) for failure in failures]
        if left_out or fitting([each.failure for each in (*found, *more)]) < len(found) + len(more):
            left_out.add(ordinal)
        else:
            found += more
    return tuple(found), left_out
