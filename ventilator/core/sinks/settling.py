"""Decides, once for all sinks of a stream, which items failed.

Part of the leases core: no socket, no clock. Theory of operation. Which sample falls into which batch depends on all
failures before it, so two sinks must never disagree on one. Several sinks therefore only report what came: what was
made, and what failed at which worker (`Made`, `Failing`). Here each item is decided once: made as soon as a sink has
it, failed as soon as a failure counts (`protocol/outcomes/doubts.py` and `failure_budget.py`, as one sink alone does
it), or when it is given up because it kills workers. A task is *settled* once all its items are decided; only then it
is published (`Outcomes`), and what is published never changes. A ventilator that is started again adopts what sinks
know before it decides anything.

An item that was made once and then cannot be made again, for a sink that needs it too, ends the stream: no outcome of
it would be right for all.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from penstock.protocol import ranges
from penstock.protocol.instructions import Note
from penstock.protocol.messages import Failed, Failing, Failure, Made
from penstock.protocol.outcomes.doubts import Doubts, Word
from penstock.protocol.outcomes.failing_text import Bare, unexplained
from penstock.protocol.outcomes.failure_budget import Budget, Holder, StopKind
from penstock.protocol.outcomes.known import KnownOutcomes
from penstock.protocol.plan import StreamPlan
from penstock.protocol.ranges import Ranges

_OFFSETS = attrgetter("offsets")


@dataclass(slots=True)
class _Open:
    """What is decided of a task that is not settled."""

    made: set[int] = field(default_factory=set)
    failed: dict[int, Failure] = field(default_factory=dict)


class Settling:
    """What failed of one stream."""

    def __init__(self, plan: StreamPlan, issuer: str, attempts: int) -> None:
        """Start with nothing decided; `issuer` is this ventilator, by whose numbers workers are known."""
        self.known = KnownOutcomes(plan.geometry)
        self._plan, self._issuer, self._attempts = plan, issuer, attempts
        self._budget = Budget(plan)
        self._doubts = Doubts(plan, self._budget)
        self._open: dict[int, _Open] = {}
        #: By task and item: the workers at which something failed that another one had made.
        self._unmade: dict[int, dict[int, set[Holder]]] = {}
        #: Why the stream stopped for another reason than the failures that are counted here.
        self._broken = ""
        self._broken_kind: StopKind = "outcomes"
        self._fresh: set[int] = set()
        self._notes: list[Note] = []

    @property
    def stopped(self) -> str:
        """Why the stream stopped; empty while it runs."""
        return self._broken or self._budget.exceeded

    @property
    def kind(self) -> StopKind:
        """What trainers are refused for once the stream has stopped."""
        return self._broken_kind if self._broken else self._budget.kind

    def stop(self, why: str, kind: StopKind = "outcomes") -> None:
        """Stop the stream: a sink says that it has stopped, or no outcome is right for all sinks."""
        if not self.stopped:
            self._broken, self._broken_kind = why, kind

    def adopt(self, settled: Ranges, failed: Iterable[Failed], bare: Iterable[Bare] = ()) -> None:
        """Take over what a sink knows; stop the stream if something else was decided meanwhile.

        Of `bare` tasks it says only which items failed.
        """
        if not settled:  # failures of tasks that are not settled say nothing
            return
        told: dict[int, dict[int, Failure]] = {task[0]: unexplained(task) for task in bare}
        for each in failed:
            told.setdefault(each.ordinal, {})[each.failure.offset] = each.failure
        mine = {ordinal for ordinal, _ in self.known.failures()}
        for ordinal in sorted(mine | told.keys()):
            lost = told.get(ordinal, {})
            if not ranges.holds(settled, ordinal):
                continue
            if self.known.is_settled(ordinal):
                if self.known.failed(ordinal).keys() != lost.keys():
                    self._contradict(ordinal)
                continue
            for failure in lost.values():
                self._budget.count(self._epoch(ordinal), failure)
            self._settle(ordinal, lost)
        self.known.cover(ranges.subtract(settled, self.known.settled()))
        for ordinal in [ordinal for ordinal in self._open if self.known.is_settled(ordinal)]:
            del self._open[ordinal]

    def hear_all(self, told: Sequence[tuple[Sequence[Made], Sequence[Failing]]]) -> None:
        """Decide by what came to sinks, one after the other: what was made, and what failed."""
        if self._open or self._doubts or any(failing or any(map(_OFFSETS, made)) for made, failing in told):
            for made, failing in told:
                self.hear(made, failing)
            return
        # Nearly always: whole tasks, of which nothing failed.
        ordinals = ranges.from_sorted(sorted({each.ordinal for made, _ in told for each in made}))
        if ordinals:
            fresh = ranges.subtract(ordinals, self.known.settled(ordinals[0][0], ordinals[-1][1]))
            self.known.cover(fresh)
            self._fresh.update(ranges.members(fresh))

    def hear(self, made: Iterable[Made], failing: Iterable[Failing]) -> None:
        """Decide by what came to one sink."""
        for each in made:
            if self.known.is_settled(each.ordinal):
                continue
            if not (each.offsets or each.ordinal in self._open or self._doubts.concern(each.ordinal)):
                self._settle(each.ordinal, {})
            else:
                offsets = each.offsets or range(len(self._plan.geometry.slots(each.ordinal)))
                self._made(each.ordinal, offsets, (each.issuer, each.holder))
        for failed in failing:
            self._failing(failed)

    def give_up(self, ordinal: int, failure: Failure) -> None:
        """Count an item as failed that was given up because it kills its workers."""
        offset = failure.offset
        if self.known.is_settled(ordinal):
            if offset not in self.known.failed(ordinal):
                self.stop(self._unmakeable(failure))
            return
        known = self._open.setdefault(ordinal, _Open())
        if offset in known.made:
            self.stop(self._unmakeable(failure))
        elif offset not in known.failed:
            self._budget.count(self._epoch(ordinal), failure)
            known.failed[offset] = failure
            self._close(ordinal, known)

    def is_begun(self, ordinal: int) -> bool:
        """Return whether it is known what became of any item of a task."""
        return ordinal in self._open or self.known.is_settled(ordinal)

    def is_decided(self, ordinal: int, offset: int) -> bool:
        """Return whether it is known what became of an item."""
        known = self._open.get(ordinal)
        return self.known.is_settled(ordinal) or (known is not None and offset in known.made | known.failed.keys())

    def failed(self, ordinal: int) -> Collection[int]:
        """Return the offsets of a task's items that failed, as far as that is decided."""
        known = self._open.get(ordinal)
        return known.failed if known else self.known.failed(ordinal)

    @property
    def any_failed(self) -> bool:
        """Whether `failed` may return anything."""
        return self.known.any_failed or bool(self._open)

    def doubted(self, missing: Ranges) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
        """Return the items that another worker is to run: task, offset, and the workers that do not count.

        Forget what was begun with tasks that are not `missing`: no sink wants them.
        """
        for begun in (self._open, self._unmade):
            for ordinal in [ordinal for ordinal in begun if not ranges.holds(missing, ordinal)]:
                del begun[ordinal]
        listed = {
            (ordinal, offset): frozenset(self._own(holders))
            for ordinal, offset, holders in self._doubts.suspected(missing)
        }
        for ordinal, items in self._unmade.items():
            listed |= {(ordinal, offset): frozenset(self._own(holders)) for offset, holders in items.items()}
        return tuple((ordinal, offset, tuple(sorted(numbers))) for (ordinal, offset), numbers in sorted(listed.items()))

    def take_fresh(self) -> Ranges:
        """Return the tasks that were settled since the last call."""
        fresh, self._fresh = self._fresh, set()
        return ranges.from_sorted(sorted(fresh))

    def take_notes(self) -> list[Note]:
        """Return what is worth a line in the log since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def _own(self, holders: Iterable[Holder]) -> list[int]:
        return [number for issuer, number in holders if issuer == self._issuer]

    def _made(self, ordinal: int, offsets: Iterable[int], holder: Holder) -> None:
        known = self._open.setdefault(ordinal, _Open())
        fresh = [offset for offset in offsets if offset not in known.made and offset not in known.failed]
        verdict = self._doubts.judge(ordinal, fresh, (), Word(holder, "", vouched=False))
        for worker, failure in verdict.contradicted:
            fields = {"stream": self._plan.name, "path": failure.path, "reason": failure.reason, "worker": worker}
            self._notes.append(Note("failure contradicted", fields, "warning"))
        known.made.update(fresh)
        self._close(ordinal, known)

    def _failing(self, told: Failing) -> None:
        if told.issuer != self._issuer:  # that worker may be here under another number, and would confirm its own word
            return
        ordinal, failure, offset = told.ordinal, told.failure, told.failure.offset
        word = Word((told.issuer, told.holder), failure.worker, told.vouched)
        if self.known.is_settled(ordinal):
            if offset not in self.known.failed(ordinal):
                self._unmake(ordinal, failure, word)
            return
        known = self._open.setdefault(ordinal, _Open())
        if offset in known.made:
            self._unmake(ordinal, failure, word)
        elif offset not in known.failed:
            verdict = self._doubts.judge(ordinal, (offset,), (failure,), word)
            for counted in verdict.alone:
                self._budget.count(self._epoch(ordinal), counted, word.holder)
            for counted in verdict.confirmed:
                self._budget.count(self._epoch(ordinal), counted)
            known.failed.update((counted.offset, counted) for counted in (*verdict.alone, *verdict.confirmed))
            self._close(ordinal, known)

    def _unmake(self, ordinal: int, failure: Failure, word: Word) -> None:
        holders = self._unmade.setdefault(ordinal, {}).setdefault(failure.offset, set())
        again = word.vouched and word.holder in holders
        holders.add(word.holder)
        if again or len(holders) >= self._attempts:
            self.stop(self._unmakeable(failure))

    def _unmakeable(self, failure: Failure) -> str:
        return (
            f"stream {self._plan.name!r}: {failure.path!r} was made into samples for one sink and cannot be made again "
            f"for another ({failure.reason}). Repair the file, and start the sinks and the ventilator again"
        )

    def _contradict(self, ordinal: int) -> None:
        self.stop(
            f"stream {self._plan.name!r}: sinks know different items of task {ordinal} as failed: the ventilator was "
            "started again while it could not be reached. Start the sinks and the ventilator again"
        )

    def _close(self, ordinal: int, known: _Open) -> None:
        if len(known.made) + len(known.failed) == len(self._plan.geometry.slots(ordinal)):
            self._settle(ordinal, known.failed)

    def _settle(self, ordinal: int, failed: dict[int, Failure]) -> None:
        self._open.pop(ordinal, None)
        self.known.settle(ordinal, failed)
        self._fresh.add(ordinal)

    def _epoch(self, ordinal: int) -> int:
        return ordinal // self._plan.geometry.tasks_per_epoch
