"""What the readers of one of several sinks need: what failed in their windows, and the samples of their own rounds."""

from collections.abc import Sequence

from penstock.protocol import ranges
from penstock.protocol.messages import StreamNeed
from penstock.protocol.outcomes.failing_text import MOST_BARE, Bare, bare_in, failed_in
from penstock.protocol.outcomes.failure_budget import Budget
from penstock.protocol.ranges import Ranges
from penstock.protocol.records import MOST_SPANS
from penstock.sink.core.reader import Consumer, Reader
from penstock.sink.core.shared.claims import claims
from penstock.sink.core.shared.store import SharedStore

#: Ranges of settled tasks that a report to a new ventilator names.
_MOST_SETTLED = 4096


def need_of(
    readers: Sequence[Consumer], store: SharedStore, budget: Budget, most_bare: int = MOST_BARE
) -> StreamNeed | None:
    """Return the report of a stream for the ventilator; None if nothing is to be said.

    It names at most so many failed items without a word on each.
    """
    stopped = budget.exceeded
    if not (readers or stopped or store.unheard):
        return None
    geometry, known = store.geometry, store.known
    lacks, spans = _lacking([] if stopped else readers, store)
    wanted = ranges.normalise(geometry.tasks_between(*span) for span in spans)
    first, last = (wanted[0][0], wanted[-1][1]) if wanted else (0, 0)
    missing = ranges.subtract(wanted, known.settled(first, last))

    def is_lacking(ordinal: int, offset: int) -> bool:
        if not known.is_settled(ordinal):
            return True
        return not store.is_here(geometry.positions(ordinal)[offset])

    settled: Ranges = ()
    failed, bare = failed_in(())[0], tuple[Bare, ...]()
    if store.unheard:  # what is left out here, the ventilator may decide anew: all that counts, it hears at once
        listed = sorted(known.failures(), reverse=True)
        failed, beyond = failed_in((ordinal, failures.values()) for ordinal, failures in listed)
        bare, left_out = bare_in(((ordinal, lost) for ordinal, lost in listed if ordinal in beyond), most_bare)
        cut = ranges.from_sorted(sorted(left_out))
        settled = ranges.subtract(known.settled(), cut)[-_MOST_SETTLED:]
    return StreamNeed(
        stream=store.plan.name,
        missing=missing,
        stopped=stopped,
        kind=budget.kind,
        lacks=lacks,
        made=store.witnesses.made(missing, lambda ordinal: len(geometry.slots(ordinal))),
        failing=store.witnesses.failing(is_lacking),
        settled=settled,
        failed=failed,
        bare=bare,
    )


def _lacking(readers: Sequence[Consumer], store: SharedStore) -> tuple[Ranges, list[tuple[int, int]]]:
    """Return the positions whose samples readers lack, and each reader's span of positions."""
    claimed: list[tuple[int, int]] = []
    spans: list[tuple[int, int]] = []
    for reader in readers:
        limit = reader.limit(store)
        if limit <= reader.cursor:
            continue
        stop = store.geometry.block_of(limit - 1)[1]
        runs: Ranges = ((reader.cursor, stop),)
        if isinstance(reader, Reader):
            rank = reader.subscribe.rank
            runs, stop = claims(reader.plan, rank, reader.world_size, reader.cursor, store.lost, stop)
        claimed += runs
        spans.append((reader.cursor, stop))
    lacks: list[tuple[int, int]] = []
    for position, stop in ranges.normalise(claimed):
        low = position
        while low < stop and len(lacks) < 2 * MOST_SPANS:
            high = min(store.geometry.block_of(low)[1], stop)
            lacks += store.lacking(low, high)
            low = high
    listed = ranges.normalise(lacks)
    if len(listed) > MOST_SPANS or len(lacks) >= 2 * MOST_SPANS:
        listed = listed[:MOST_SPANS]
        most = store.geometry.block_of(listed[-1][1] - 1)[1]
        spans = [(low, min(high, most)) for low, high in spans]
    return listed, spans
