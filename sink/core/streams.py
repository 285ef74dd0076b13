"""Holds each stream's plan, results, failure budget, readers and recording. Samples that no reader wants are dropped.

`trainers.py` adds and removes readers; `demand.py` makes the reports.
"""

from collections.abc import Iterable

from penstock.protocol import ranges
from penstock.protocol.messages import Progress, TaskKey
from penstock.protocol.outcomes.doubts import Doubts
from penstock.protocol.outcomes.failure_budget import Budget
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.demand import Report, drop_unwanted, reading, starts_between, wants
from penstock.sink.core.reader import Consumer, Reader
from penstock.sink.core.recording import Recording
from penstock.sink.core.shared.store import SharedStore
from penstock.sink.core.store import Store


class Streams:
    """All streams, by name, and their readers."""

    def __init__(self, recording: Recording | None, *, shared: bool = False) -> None:
        """Start without streams and readers; `recording` writes one to a file, if there is one.

        `shared`: this is one of several sinks.
        """
        self._shared = shared
        self.plans: dict[str, StreamPlan] = {}
        self.stores: dict[str, Store] = {}
        self.budgets: dict[str, Budget] = {}
        #: Failures that count only once a second worker has confirmed them.
        self.doubts: dict[str, Doubts] = {}
        #: Trainers' places, by the routing identity of their link.
        self.readers: dict[bytes, Reader] = {}
        self.recording = recording
        self.report = Report()

    @property
    def consumers(self) -> dict[bytes, Consumer]:
        """All consumers of samples: trainers' readers, and the recording."""
        return {**self.readers, **(self.recording.consumers if self.recording else {})}

    def replace(self, plans: Iterable[StreamPlan]) -> None:
        """Adopt the list of streams; nothing is kept of a stream that has changed."""
        found = {plan.name: plan for plan in plans}
        for name, plan in found.items():
            if self.plans.get(name) != plan:
                self.plans[name] = plan
                self.stores[name] = SharedStore(plan) if self._shared else Store(plan)
                self.budgets[name] = Budget(plan)
                if self._shared:  # the ventilator decides when it is exceeded
                    self.budgets[name].allowed = plan.items
                self.doubts[name] = Doubts(plan, self.budgets[name])
        for name in set(self.plans) - set(found):
            del self.plans[name], self.stores[name], self.budgets[name], self.doubts[name]

    def meet(self) -> None:
        """Tell a ventilator that has welcomed this sink, which is one of several, what is known here."""
        for store in self.stores.values():
            if isinstance(store, SharedStore):
                store.meet()

    def is_open(self, name: str) -> bool:
        """Return whether the list of streams is known and this stream's output, if it has one, is open."""
        return bool(self.plans) and not (self.recording and self.recording.is_opening(name))

    def stopped(self) -> dict[str, str]:
        """Return why streams stopped, by name; streams that run are left out."""
        return {name: budget.exceeded for name, budget in self.budgets.items() if budget.exceeded}

    def wants(self, store: Store, key: TaskKey) -> bool:
        """Return whether a reader wants a task's samples."""
        return wants(self.consumers.values(), store, store.geometry.block_start(key.ordinal))

    def tasks_with(self, plan: StreamPlan, position: int, window: int) -> int:
        """Return how many tasks all windows would span with one more, of this stream from `position` on."""
        total = 0
        for name, store in self.stores.items():
            spans = [(reader.cursor, reader.limit(store)) for reader in reading(self.consumers.values(), store)]
            if name == plan.name:
                spans.append((position, position + window))
            total += ranges.size(ranges.normalise(store.geometry.tasks_between(*span) for span in spans))
        return total

    def readers_of(self, store: Store) -> int:
        """Return the number of a stream's consumers."""
        return len(reading(self.consumers.values(), store))

    def peers(self, name: str) -> list[bytes]:
        """Return the trainers of a stream."""
        return [peer for peer, reader in self.readers.items() if reader.plan.name == name]

    def trainers(self, name: str) -> dict[bytes, str]:
        """Return the trainers of a stream with what a story calls them."""
        return {peer: f"trainer {name}, rank {self.readers[peer].subscribe.rank}" for peer in self.peers(name)}

    def join(self, peer: bytes, reader: Reader) -> None:
        """Add a trainer."""
        self.readers[peer] = reader
        self.keep_step()
        self.report.press()

    def leave(self, peer: bytes) -> Reader | None:
        """Remove a trainer; return its reader, if it had one."""
        reader = self.readers.pop(peer, None)
        if reader is None:
            return None
        self.report.press()
        if self.recording:
            self.recording.part(reader)
        self.sweep(self.stores[reader.plan.name])
        return reader

    def keep_step(self) -> None:
        """Couple what records a stream with trainers that are near; what is then beyond their limit is dropped."""
        if self.recording and self.recording.keep_step(self.readers.values()):
            self.report.press()
            self.sweep(self.stores[self.recording.config.stream])

    def passed(self, store: Store, before: int, cursor: int) -> None:
        """Handle a cursor that has moved: drop the blocks that it passed unless another reader wants them."""
        self.report.changed = True
        drop_unwanted(self.consumers.values(), store, starts_between(store, before, cursor))

    def sweep(self, store: Store) -> None:
        """Drop all that no reader wants, after one has left or was slowed down."""
        drop_unwanted(self.consumers.values(), store, store.starts())

    def progress(self) -> Progress | None:
        """Return the progress report for the ventilator, if anything changed."""
        if not self.report.changed:
            return None
        return self.report.make(self.consumers, self.stores, self.budgets, self.doubts)

    def pressing(self) -> bool:
        """Return whether the ventilator should hear of the changes at once: what it may lease would soon run out."""
        return self.report.pressing(self.consumers, self.stores)

    def answered(self) -> bool:
        """Return whether the ventilator has answered the last report of what came, or owes no answer."""
        return all(store.answered for store in self.stores.values() if isinstance(store, SharedStore))

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold: nothing is kept that no reader wants, among others."""
        for store in self.stores.values():
            store.validate()
            spans = [(reader.cursor, reader.limit(store)) for reader in reading(self.consumers.values(), store)]
            for start in store.starts():
                stop = store.geometry.block_of(start)[1]
                wanted = any(low < stop and start < high for low, high in spans)
                assert wanted, f"block {start} is held for no reader"  # noqa: S101
        for reader in self.readers.values():
            reader.credit.validate()
            assert reader.plan is self.plans[reader.plan.name]  # noqa: S101
