"""What the readers want: which blocks are kept, which tasks are missing, and how soon the ventilator must know.

`streams.py` says which readers there are; `failure_budget.py` says why a stream stopped.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from penstock.protocol import ranges
from penstock.protocol.messages import Progress, StreamNeed
from penstock.sink.core.failure_budget import Budget
from penstock.sink.core.reader import Consumer
from penstock.sink.core.store import Store

AnyConsumer = TypeVar("AnyConsumer", bound=Consumer)

#: A report is pressing once a reader's limit has moved by the window over this.
_SHARE_OF_WINDOW = 16


def reading(readers: Iterable[AnyConsumer], store: Store) -> list[AnyConsumer]:
    """Return those that read a stream."""
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
    """What the ventilator is told of missing tasks: absolute, and only if something changed."""

    def __init__(self) -> None:
        """Have told nothing."""
        #: Whether anything changed since the last report; whether that must be told soon.
        self.changed = self.urgent = True
        self._sequence = 0
        #: The limit that the last report gave for each reader.
        self._told: dict[bytes, int] = {}

    def press(self) -> None:
        """Note a change that must be told soon."""
        self.changed = self.urgent = True

    def pressing(self, readers: Mapping[bytes, Consumer], stores: Mapping[str, Store]) -> bool:
        """Return whether changes should be told at once: what the ventilator may lease would soon run out."""
        return self.urgent or any(
            (reader.limit(stores[reader.plan.name]) - self._told.get(peer, 0)) * _SHARE_OF_WINDOW >= reader.window
            for peer, reader in readers.items()
        )

    def make(
        self, readers: Mapping[bytes, Consumer], stores: Mapping[str, Store], budgets: Mapping[str, Budget]
    ) -> Progress:
        """Return what to tell now; of a stream that its budget stopped, nothing is wanted any more."""
        self.changed = self.urgent = False
        self._told = {peer: reader.limit(stores[reader.plan.name]) for peer, reader in readers.items()}
        self._sequence += 1
        needs = [
            self._need(reading(readers.values(), store), store, budgets[name].exceeded)
            for name, store in stores.items()
        ]
        return Progress(sequence=self._sequence, needs=tuple(need for need in needs if need))

    def _need(self, readers: Sequence[Consumer], store: Store, stopped: str) -> StreamNeed | None:
        dropped = store.take_dropped()
        if not readers and not stopped:
            return None
        spans = [store.geometry.tasks_between(reader.cursor, reader.limit(store)) for reader in readers]
        wanted = ranges.normalise([] if stopped else spans)
        lacking = ranges.subtract(wanted, store.complete())
        # What came and was dropped again (one reader had it, another wants it now) is not missing once, and then again:
        # otherwise the ventilator could not tell that it came, and would wait for it to be confirmed.
        missing = ranges.subtract(lacking, dropped)
        self.changed |= missing != lacking
        self.urgent |= missing != lacking
        return StreamNeed(stream=store.plan.name, missing=missing, partial=tuple(store.partial()), stopped=stopped)
