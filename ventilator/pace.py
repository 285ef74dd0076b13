"""How much the ventilator does in one turn of its loop: as much as it may without leaving its peers to wait.

What a turn leases goes to each worker in one message, and comes back in one: the more tasks share a message, the less
each costs. Under load, a turn that reads few messages has few tasks for each of many workers, so that each message
holds one, and the next turn reads no more: a task then costs twice as much with a thousand workers as with a hundred.
But peers must hear from the ventilator in between, where items take long to look up (a listing of 10⁸ that is read for
the first time).
"""

import time
from collections.abc import Callable

from penstock.protocol.instructions import Instruction, Send
from penstock.protocol.messages import Tasks
from penstock.ventilator.core.leases import Leases

#: Most messages that are read in a turn, and most and fewest tasks that are leased.
MOST_A_TURN, _FEWEST = 8192, 256
#: How many more objects live before the collector looks for cycles: more than a turn makes for thousands of tasks, all
#: of which it would walk through for nothing. Together they are some megabytes.
COLLECT_AFTER = 100_000
#: How long leasing may take in a turn (s), and how many tasks the first ones lease.
_LEASING_S, _FIRST = 0.1, 1024


class Pace:
    """How many tasks a turn leases, by how long that took in the last one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with as many as take no time where items are looked up quickly."""
        self._clock, self._most = clock, _FIRST

    def dispatch(self, core: Leases, now: float) -> list[Instruction]:
        """Let the core lease ready work to free slots, after it has reviewed what sinks report: that takes its time."""
        began = self._clock()
        out = core.dispatch(now, self._most)
        took = max(1e-6, self._clock() - began)
        sent = [each.message for each in out if isinstance(each, Send)]
        leased = sum(len(message.tasks) for message in sent if isinstance(message, Tasks))
        if leased >= _FEWEST:
            self._most = max(_FEWEST, min(MOST_A_TURN, int(_LEASING_S * leased / took)))
        return out
