"""What came of tasks of which it is not known yet what failed: reported to the ventilator, which decides.

Reports are absolute: what came is repeated until the ventilator has published what failed of the task.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from penstock.protocol.messages import Failing, Failure, Made
from penstock.protocol.outcomes.doubts import Word
from penstock.protocol.outcomes.failing_text import fitting
from penstock.protocol.outcomes.failure_budget import Holder
from penstock.protocol.ranges import Ranges, holds

#: Workers whose failures of one item are reported, the last; results of one report.
_MOST_HOLDERS, _MOST_MADE = 16, 4096


class Witnesses:
    """Results of one stream whose tasks are not settled."""

    def __init__(self) -> None:
        """Start without results."""
        #: By task, by worker and by whether samples of them are here: the offsets of the items that were made.
        self._made: dict[int, dict[tuple[Holder, bool], set[int]]] = {}
        #: By task and offset of the item, the failures that workers reported.
        self._failing: dict[int, dict[int, dict[Holder, Failing]]] = {}

    def add_made(self, ordinal: int, offsets: Iterable[int], holder: Holder, *, shown: bool) -> bool:
        """Note items that a worker made, of which samples are here if they are `shown`; return whether that is new."""
        known = self._made.setdefault(ordinal, {}).setdefault((holder, shown), set())
        before = len(known)
        known.update(offsets)
        return len(known) > before

    def add_failing(self, ordinal: int, failures: Sequence[Failure], word: Word) -> bool:
        """Note items that failed at a worker; return whether that is new."""
        new = False
        for failure in failures:
            said = self._failing.setdefault(ordinal, {}).setdefault(failure.offset, {})
            known = said.get(word.holder)
            if known is None or (word.vouched and not known.vouched):
                issuer, holder = word.holder
                if known is None and len(said) == _MOST_HOLDERS:
                    del said[next(iter(said))]
                said[word.holder] = Failing(
                    ordinal=ordinal, failure=failure, issuer=issuer, holder=holder, vouched=word.vouched
                )
                new = True
        return new

    def settle(self, ordinal: int, failed: Collection[int]) -> None:
        """Forget what came of a task of which it is known now what failed, but for failures of what was made."""
        self._made.pop(ordinal, None)
        if known := self._failing.get(ordinal):
            for offset in known.keys() & set(failed):
                del known[offset]
            if not known:
                del self._failing[ordinal]

    def drop(self, ordinals: Iterable[int]) -> None:
        """Forget tasks that no reader wants."""
        for ordinal in ordinals:
            self._made.pop(ordinal, None)
            self._failing.pop(ordinal, None)

    def tasks(self) -> set[int]:
        """Return the tasks of which anything is known."""
        return self._made.keys() | self._failing.keys()

    def made(self, missing: Ranges, items: Callable[[int], int]) -> tuple[Made, ...]:
        """Return what was made of the `missing` tasks, of which `items` says how many items they have."""
        found: list[Made] = []
        for ordinal in sorted(self._made):
            if not holds(missing, ordinal):
                continue
            for ((issuer, holder), shown), offsets in self._made[ordinal].items():
                which = () if len(offsets) == items(ordinal) else tuple(sorted(offsets))[:_MOST_MADE]
                found.append(Made(ordinal=ordinal, offsets=which, shown=shown, issuer=issuer, holder=holder))
            if len(found) >= _MOST_MADE:
                break
        return tuple(found)

    def failing(self, lacks: Callable[[int, int], bool]) -> tuple[Failing, ...]:
        """Return the failures of items of which, by task and offset, something is lacking; forget the others."""
        found: list[Failing] = []
        for ordinal in sorted(self._failing):
            known = self._failing[ordinal]
            for offset in [offset for offset in known if not lacks(ordinal, offset)]:
                del known[offset]
            if not known:
                del self._failing[ordinal]
            found += [each for said in known.values() for each in said.values()]
        return tuple(found[: fitting([each.failure for each in found])])
