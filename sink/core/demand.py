"""Computes what readers need: the blocks to keep, the missing tasks, and how soon the ventilator must know.

`streams.py` holds the readers; `failure_budget.py` knows why a stream stopped.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from penstock.protocol import ranges
from penstock.protocol.messages import Progress, StreamNeed
from penstock.protocol.outcomes.doubts import Doubts
from penstock.protocol.outcomes.failing_text import MOST_BARE
from penstock.protocol.outcomes.failure_budget import Budget
from penstock.sink.core.reader import Consumer
from penstock.sink.core.shared.needs import need_of
from penstock.sink.core.shared.store import SharedStore
from penstock.sink.core.store import Store

AnyConsumer = TypeVar("AnyConsumer", bound=Consumer)

#: Ranges of tasks that came, the lowest, that one report names.
_MOST_CAME = 4096
#: A report is pressing once a reader's limit has moved by the window over this.
_SHARE_OF_WINDOW = 16


def reading(readers: Iterable[AnyConsumer], store: Store) -> list[AnyConsumer]:
    """Return the consumers of a stream."""
    return [reader for reader in readers if reader.plan is store.plan]


def wants(readers: Iterable[Consumer], store: Store, start: int) -> bool:
    """Return whether some reader wants the block that starts at position `start`."""
    stop = store.geometry.block_of(start)[1]
    return any(reader.cursor < stop and start < reader.limit(store) for reader in readers if reader.plan is store.plan)


def drop_unwanted(readers: Collection[Consumer], store: Store, starts: Iterable[int]) -> None:
    """Forget those of the blocks starting at `starts` that no reader wants any more."""
    for start in starts:
        if not wants(readers, store, start):
            store.drop(start)


def starts_between(store: Store, low: int, high: int) -> Iterator[int]:
    """Yield where the blocks start that hold the positions from `low` to before `high`."""
    position = low
    while position < high:
        start, position = store.geometry.block_of(position)
        yield start


class Report:
    """Reports of missing tasks to the ventilator: absolute, and only if something changed."""

    def __init__(self) -> None:
        """Start without a report."""
        #: Whether anything changed since the last report; whether the ventilator must hear of it soon.
        self.changed = self.urgent = True
        self._sequence = 0
        #: The limit that the last report gave for each reader.
        self._told: dict[bytes, int] = {}

    def press(self) -> None:
        """Note a change of which the ventilator must hear soon."""
        self.changed = self.urgent = True

    def pressing(self, readers: Mapping[bytes, Consumer], stores: Mapping[str, Store]) -> bool:
        """Return whether to report changes at once: the ventilator would soon run out of work to lease."""
        return self.urgent or any(
            (reader.limit(stores[reader.plan.name]) - self._told.get(peer, 0)) * _SHARE_OF_WINDOW >= reader.window
            for peer, reader in readers.items()
        )

    def make(
        self,
        readers: Mapping[bytes, Consumer],
        stores: Mapping[str, Store],
        budgets: Mapping[str, Budget],
        doubts: Mapping[str, Doubts],
    ) -> Progress:
        """Return the report; a stream whose budget is exceeded needs nothing any more."""
        self.changed = self.urgent = False
        self._told = {peer: reader.limit(stores[reader.plan.name]) for peer, reader in readers.items()}
        self._sequence += 1
        needs, room = [], MOST_BARE
        for name, store in stores.items():
            consumers, budget = reading(readers.values(), store), budgets[name]
            if isinstance(store, SharedStore):
                store.told(self._sequence)
                need = need_of(consumers, store, budget, room)
                room -= sum(len(offsets) for _, offsets, _ in need.bare) if need else 0
                if need and need.made:
                    store.asked(self._sequence)
                needs.append(need)
            else:
                needs.append(self._need(consumers, store, budget.exceeded, doubts[name]))
        return Progress(sequence=self._sequence, needs=tuple(need for need in needs if need))

    def _need(self, readers: Sequence[Consumer], store: Store, stopped: str, doubts: Doubts) -> StreamNeed | None:
        dropped, complete = store.take_dropped(), store.complete()
        if not readers and not stopped and not dropped:
            return None
        spans = [store.geometry.tasks_between(reader.cursor, reader.limit(store)) for reader in readers]
        wanted = ranges.normalise([] if stopped else spans)
        lacking = ranges.subtract(wanted, complete)
        # What came and was dropped again (one reader had it, another wants it now) is not missing once, and then again:
        # otherwise the ventilator could not tell that it came, and would wait for it to be confirmed.
        missing = ranges.subtract(lacking, dropped)
        self.changed |= missing != lacking
        self.urgent |= missing != lacking
        return StreamNeed(
            stream=store.plan.name,
            missing=missing,
            came=ranges.normalise((*complete, *dropped))[:_MOST_CAME],
            partial=tuple(store.partial()),
            doubted=doubts.listed(missing),
            stopped=stopped,
        )
