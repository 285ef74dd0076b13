"""The failure budget of one stream: how many items may be quarantined before it stops, and the explanation.

A failure that is not the item's fault (a custom transform that breaks its contract) stops it at once. `doubts.py`
decides which failures count, so that no worker can use up the budget alone.
"""

import math
from collections import Counter
from fractions import Fraction
from typing import Literal, NamedTuple

from penstock.protocol.messages import Failure, Refused
from penstock.protocol.plan import StreamPlan

#: Epochs whose failures are remembered; older ones can only come back by seeking, and are then counted anew.
_EPOCHS = 4

#: A worker as a ventilator knows it: the ventilator's `issuer` and the worker's number there.
Holder = tuple[str, int]
#: What trainers are refused for once a stream has stopped.
StopKind = Literal["budget", "transform", "outcomes"]


class _Counted(NamedTuple):
    reason: str
    #: The only worker that reported it; None: the ventilator or a second worker did, or a file records it.
    holder: Holder | None


class Budget:
    """Counts failed items by epoch; once exceeded it stays so."""

    def __init__(self, plan: StreamPlan) -> None:
        """Start with no failures."""
        self.plan = plan
        #: Items that may fail in an epoch: one in which all of them fail never passes. The fraction is taken as it is
        #: written: in binary, 0.07 × 100 is a little more than 7 and would be rounded up to 8.
        self.allowed = min(math.ceil(Fraction(str(plan.settings.failure_budget)) * plan.items), plan.items - 1)
        #: Why the stream stopped; empty while it may go on.
        self.exceeded = ""
        #: The refusal that trainers get once the stream has stopped; None before.
        self.kind: StopKind = "budget"
        self._failed: dict[int, dict[int, _Counted]] = {}

    def count(self, epoch: int, failure: Failure, holder: Holder | None = None) -> bool:
        """Count a failure; return whether it is the first of this item in this epoch.

        `holder`: the worker on whose word alone it rests.
        """
        failed = self._failed.setdefault(epoch, {})
        if failure.item in failed:
            return False
        failed[failure.item] = _Counted(failure.reason, holder)
        if len(self._failed) > _EPOCHS:
            del self._failed[min(self._failed.keys() - {epoch})]
        if failure.fatal and not self.exceeded:
            self.kind, self.exceeded = "transform", f"stream {self.plan.name!r}, {failure.path!r}: {failure.reason}"
        if len(failed) > self.allowed and not self.exceeded:
            self.exceeded = self._explain(epoch, failed, failure)
        return True

    def has(self, epoch: int, item: int) -> bool:
        """Return whether an item's failure is counted in this epoch."""
        return item in self._failed.get(epoch, ())

    def room(self, epoch: int) -> int:
        """Return how many more failures of an epoch may count on one worker's word: half the budget, in all."""
        alone = sum(counted.holder is not None for counted in self._failed.get(epoch, {}).values())
        return min(self.allowed // 2 - alone, self.allowed - len(self._failed.get(epoch, ())))

    def forgive(self, holder: Holder) -> None:
        """Uncount what rests on this worker's word alone: another worker has contradicted it."""
        for failed in self._failed.values():
            for item in [item for item, counted in failed.items() if counted.holder == holder]:
                del failed[item]

    @property
    def refused(self) -> Refused | None:
        """Message for trainers once the stream has stopped."""
        return Refused(kind=self.kind, reason=self.exceeded) if self.exceeded else None

    def _explain(self, epoch: int, failed: dict[int, _Counted], last: Failure) -> str:
        reasons = Counter(counted.reason for counted in failed.values()).most_common(3)
        return (
            f"stream {self.plan.name!r}: {len(failed)} of {self.plan.items} items failed in epoch {epoch}, more than "
            f"failure_budget = {self.plan.settings.failure_budget} allows ({self.allowed}). Most frequent: "
            + "; ".join(f"{count} × {reason}" for reason, count in reasons)
            + f". Last: {last.path!r}. Repair the files (the quarantine ledger lists them) or raise failure_budget"
        )
