"""Counts failed items: against their stream's budget, in the statistics, and as entries of the ledger."""

from collections.abc import Sequence

from penstock.protocol.instructions import Note
from penstock.protocol.messages import Failure
from penstock.protocol.outcomes.failure_budget import Holder
from penstock.sink.core.instructions import AppendToLedger, LedgerEntry, SinkInstruction
from penstock.sink.core.statistics import SinkStatistics
from penstock.sink.core.streams import Streams


class Failures:
    """Counts the failures of tasks."""

    def __init__(self, streams: Streams, statistics: SinkStatistics) -> None:
        """Count in these; the streams hold the budgets."""
        self._streams, self._statistics = streams, statistics

    def count(
        self, name: str, ordinal: int, failures: Sequence[Failure], worker: str, holder: Holder | None = None
    ) -> list[SinkInstruction]:
        """Count failures of a stream's task, on the word of the worker `holder` alone if it is given.

        Returns what is recorded of them. An item that failed in the epoch already is not counted again.
        """
        out: list[SinkInstruction] = []
        epoch = ordinal // self._streams.stores[name].geometry.tasks_per_epoch
        budget = self._streams.budgets[name]
        for failure in failures:
            if budget.count(epoch, failure, holder):
                first = self._statistics.quarantine(name, epoch, failure, worker)
                by = failure.worker or worker
                named = {"path": failure.path, "reason": failure.reason}
                fields = named | failure.to_dict() | {"worker": by, "stream": name, "task": ordinal, "epoch": epoch}
                entry = LedgerEntry(name, epoch, failure.item, failure.path, failure.reason, failure.attempts, by)
                out += [AppendToLedger(entry), Note("quarantined", fields, "warning" if first else "debug")]
        return out
