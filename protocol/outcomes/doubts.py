"""Failures that one worker's word is not enough for: they count once another worker has confirmed them.

Theory of operation. A worker may be wrong or lie, and a lost item cannot be brought back. So these failures are
withheld: a fatal one, which would stop the stream; those beyond the first half of the failure budget; and every one of
a worker that others have contradicted several times. The item stays missing, `StreamNeed.doubted` names it, and the
ventilator leases it to another worker. If that one fails too, the failure counts. If it delivers the samples, the first
worker is contradicted, and its failures that no other worker confirmed do not count against the budget any more. A
worker's own word confirms nothing unless the ventilator vouches that there is no other worker (`Lease.vouched`).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from penstock.protocol.messages import Failure
from penstock.protocol.outcomes.failure_budget import Budget, Holder
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges, holds

#: Contradictions after which none of a worker's failures counts on its word alone.
_TRUSTED = 3
#: Tasks of one stream that the ventilator is asked a second word on at once; the others follow. Workers whose
#: contradictions are remembered.
_MOST_TASKS, _MOST_HOLDERS = 256, 1024


@dataclass(frozen=True, slots=True)
class Word:
    """A worker's word on some items: it had the lease of them."""

    holder: Holder
    worker: str
    #: Whether it may confirm its own word.
    vouched: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a result's failures come to."""

    #: Offsets of items that stay missing until another worker has run them.
    withheld: frozenset[int]
    #: Failures that count: on this worker's word alone, and on that of two.
    alone: tuple[Failure, ...]
    confirmed: tuple[Failure, ...]
    #: Failures that this result contradicts, and the name of the worker that reported each.
    contradicted: tuple[tuple[str, Failure], ...]


@dataclass(frozen=True, slots=True)
class _Doubt:
    failure: Failure
    word: Word


class Doubts:
    """The withheld failures of one stream."""

    def __init__(self, plan: StreamPlan, budget: Budget) -> None:
        """Start without doubts."""
        self._plan, self._budget = plan, budget
        #: By task and offset of the item.
        self._doubts: dict[int, dict[int, _Doubt]] = {}
        #: How often other workers contradicted a worker.
        self._contradicted: Counter[Holder] = Counter()

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._doubts)

    def judge(self, ordinal: int, offsets: Collection[int], failures: Sequence[Failure], word: Word) -> Verdict:
        """Return what a result comes to that holds the items at `offsets` of a task, of which `failures` failed."""
        epoch = ordinal // self._plan.geometry.tasks_per_epoch
        known = self._doubts.get(ordinal, {})
        if not failures and not known:
            return Verdict(frozenset(), (), (), ())
        room = self._budget.room(epoch)
        alone: list[Failure] = []
        confirmed: list[Failure] = []
        withheld: set[int] = set()
        for failure in failures:
            doubt = known.get(failure.offset)
            if doubt and _is_second(word, doubt):
                confirmed.append(failure.replaced(fatal=failure.fatal and doubt.failure.fatal))
            elif doubt or self._needs_second(failure, epoch, word, room - len(alone)):
                withheld.add(failure.offset)
                self._doubts.setdefault(ordinal, {}).setdefault(failure.offset, _Doubt(failure, word))
            else:
                alone.append(failure)
        failed, held = {failure.offset for failure in failures}, set(offsets)
        contradicted = [
            doubt
            for offset, doubt in known.items()
            if offset in held and offset not in failed and _is_second(word, doubt)
        ]
        for doubt in contradicted:
            self._contradict(doubt.word.holder)
        self._settle(ordinal, held - withheld)
        told = tuple((doubt.word.worker, doubt.failure) for doubt in contradicted)
        return Verdict(frozenset(withheld), tuple(alone), tuple(confirmed), told)

    def concern(self, ordinal: int) -> bool:
        """Return whether any failure of a task is withheld."""
        return ordinal in self._doubts

    def listed(self, missing: Ranges) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
        """Return what the ventilator is asked a second word on: task, offset, and the workers that do not count.

        Forget the doubts of tasks that are not `missing`: no reader wants them any more.
        """
        return tuple(
            (ordinal, offset, tuple(number for _, number in holders))
            for ordinal, offset, holders in self.suspected(missing)
        )

    def suspected(self, missing: Ranges) -> list[tuple[int, int, tuple[Holder, ...]]]:
        """Return the same as `listed`, with the workers as any ventilator knows them."""
        if not self._doubts:
            return []
        self._doubts = {ordinal: self._doubts[ordinal] for ordinal in sorted(self._doubts) if holds(missing, ordinal)}
        return [
            (ordinal, offset, (doubt.word.holder,))
            for ordinal in list(self._doubts)[:_MOST_TASKS]
            for offset, doubt in sorted(self._doubts[ordinal].items())
        ]

    def clear(self) -> None:
        """Forget all doubts: the ventilator is another one, which numbers its workers anew."""
        self._doubts.clear()

    def _needs_second(self, failure: Failure, epoch: int, word: Word, room: int) -> bool:
        if failure.fatal or self._contradicted[word.holder] >= _TRUSTED:
            return True
        return room <= 0 and not self._budget.has(epoch, failure.item)

    def _contradict(self, holder: Holder) -> None:
        self._contradicted[holder] += 1
        self._budget.forgive(holder)
        if len(self._contradicted) > _MOST_HOLDERS:
            del self._contradicted[next(iter(self._contradicted))]

    def _settle(self, ordinal: int, offsets: Collection[int]) -> None:
        known = self._doubts.get(ordinal, {})
        for offset in known.keys() & offsets:
            del known[offset]
        if not known:
            self._doubts.pop(ordinal, None)


def _is_second(word: Word, doubt: _Doubt) -> bool:
    return word.vouched or word.holder != doubt.word.holder
