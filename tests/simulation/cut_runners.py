"""Cuts off the workers that run one item, one after the other, each once it has said so. Nobody dies.

The ventilator sees what it would see of an item that kills its workers.
"""

from typing import TYPE_CHECKING

from simulation.network import Cut
from simulation.worker_process import WorkerProcess

from penstock.protocol.messages import AnyMessage, Heartbeat

if TYPE_CHECKING:
    from simulation.scenario import Fault
    from simulation.world import World


class CutRunners:
    """Cuts off each worker that says that it runs the item; the first item that a worker reports is chosen."""

    def __init__(self, world: "World", fault: "Fault") -> None:
        """Cut off for as long as `fault` says, until the schedule heals.

        Correct counting never gives the item up if a cut is longer than silence and shorter than twice that: when the
        worker of a second outage is lost, those of the first are about to be back.
        """
        self._world, self._fault = world, fault
        self._item: tuple[str, int] | None = None

    def sent(self, worker: WorkerProcess, message: AnyMessage) -> None:
        """Handle a message that a worker has just sent."""
        world, task = self._world, worker.running
        if not isinstance(message, Heartbeat) or task is None or world.clock.now >= world.scenario.heal_at:
            return
        [item] = task.items
        self._item = self._item or (task.key.stream, item.item)
        if (task.key.stream, item.item) != self._item:
            return
        until = min(world.clock.now + self._fault.seconds, world.scenario.heal_at)
        for other in ("ventilator", *world.scenario.sink_names):
            for line in ((worker.name, other), (other, worker.name)):
                world.network.cuts[line] = Cut(until, self._fault.holds)
