"""Takes in what the ventilator publishes to one of several sinks: what failed, and whether a stream has stopped."""

from penstock.protocol import ranges
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.instructions import Note
from penstock.protocol.messages import Failure, Outcomes
from penstock.sink.core.instructions import SinkInstruction
from penstock.sink.core.results.failures import Failures
from penstock.sink.core.shared.store import SharedStore
from penstock.sink.core.streams import Streams

#: Tasks of one message that are taken in.
_MOST_TASKS = 2**15
#: No position is higher than this; far below what numpy's integers hold.
_LAST = 2**61


class Publishing:
    """Adopts outcomes; what a sink knows of a task never changes."""

    def __init__(self, streams: Streams, failures: Failures) -> None:
        """Adopt them in these streams."""
        self._streams, self._failures = streams, failures

    def take(self, message: Outcomes) -> tuple[list[SinkInstruction], bool]:
        """Adopt what a message says; return what is recorded of it, and whether the stream has just stopped.

        Raises RemoteProtocolError if it makes no sense.
        """
        store = self._streams.stores.get(message.stream)
        if not isinstance(store, SharedStore):
            return [], False
        highest = max([0, *(stop for _, stop in message.settled[-1:]), *(each.ordinal for each in message.failed)])
        if not ranges.is_normal(message.settled) or store.geometry.block_start(highest) > _LAST:
            raise RemoteProtocolError("outcomes", f"{message.stream}: no list of tasks")
        failed: dict[int, dict[int, Failure]] = {}
        for each in message.failed:
            if each.failure.offset >= len(store.geometry.slots(each.ordinal)):
                raise RemoteProtocolError("outcomes", f"{message.stream}/{each.ordinal} has no item {each.failure}")
            failed.setdefault(each.ordinal, {})[each.failure.offset] = each.failure
        store.heard(message.heard)
        out: list[SinkInstruction] = []
        budget = self._streams.budgets[message.stream]
        stopped = message.stopped if not budget.exceeded else ""
        if stopped:
            budget.kind, budget.exceeded = message.kind, stopped
        for ordinal in ranges.members(ranges.lowest(message.settled, _MOST_TASKS)):
            lost = failed.get(ordinal, {})
            try:
                store.settle(ordinal, lost)
            except ValueError as error:
                why = f"{error}. Start the sinks and the ventilator again; trainers resume from their positions"
                out.append(Note("outcomes contradict each other", {"why": why}, "error"))
                stopped = stopped or why
                if not budget.exceeded:
                    budget.kind, budget.exceeded = "outcomes", why
                continue
            if lost:
                out += self._failures.count(message.stream, ordinal, list(lost.values()), "")
        return out, bool(stopped)
