"""What a schedule must stay within: the sink's memory, time until something comes, time in all, and messages."""

import math
from collections import Counter

from simulation.scenario import Scenario

from penstock.sink.core.assembly import Assembly

#: How many times each of the longest waits may be waited out in a row before something comes.
_PATIENCE = 4
#: How many times longer everything may take in weather that never heals.
_FOREVER = 4
#: The same of all that is to be done: that each next thing comes in time is checked besides.
_ENDLESS = 20
#: Messages of one kind that one process may send in one simulated second, besides those that carry work.
_CHATTER = 100
#: Messages that stand for work done: bounded by the work, not by this check.
_WORK = ("Tasks", "Finished", "Result", "Batch", "Credit", "Progress", "Quarantined", "EpochEnd")


def check_memory(assembly: Assembly) -> None:
    """Check what the sink holds: each reader's window, and blocks that stick out of it at both ends."""
    for name, store in assembly.streams.stores.items():
        held = store.samples
        readers = [reader for reader in assembly.streams.readers.values() if reader.plan.name == name]
        block = store.geometry.block_samples
        bound = 0
        for recorder in assembly.recording.consumers.values() if assembly.recording else ():
            if recorder.plan.name == name:
                bound += max(0, recorder.window - recorder.in_flight) + 2 * block
        for reader in readers:
            bound += max(0, reader.window - reader.credit.in_flight) + 2 * block
            assert reader.credit.in_flight <= reader.window, "more is on its way than the window allows"
        assert held <= bound, f"the sink holds {held} samples of {name}, more than {bound}"


def patience_s(scenario: Scenario) -> float:
    """Return how long nothing may come once the trouble has ended: a few of the longest waits in a row."""
    intervals = scenario.intervals
    slowest = max(worker.slowness for worker in scenario.workers) * scenario.task_s * 1.5
    task_s = slowest * math.sqrt(max(plan.geometry.task_items for plan in scenario.plans))
    waits = intervals.silence_s + intervals.task_timeout_s + scenario.policy.confirm_s + task_s
    rounds_s = 0.0  # what one round of every job takes a single worker
    for part in scenario.trainers:
        plan = scenario.plan(part.stream)
        samples = plan.round_samples() + plan.geometry.block_samples
        rounds_s += task_s * (samples / (plan.geometry.task_items * plan.settings.patches) + 1)
    poison = sum(len(items) for items in scenario.poison.values())
    return _PATIENCE * (_FOREVER if scenario.forever else 1) * (waits + rounds_s) + 20.0 * poison


def deadline(scenario: Scenario) -> float:
    """Return when every trainer must have reached its target, with room for every timer to expire a few times."""
    work = 0.0
    for part in scenario.trainers:
        plan = scenario.plan(part.stream)
        tasks = (part.target - part.position) / (plan.geometry.task_items * plan.settings.patches) + 2
        longest = scenario.task_s * max(worker.slowness for worker in scenario.workers) * 1.5
        items, limit_s = plan.geometry.task_items, scenario.intervals.task_timeout_s
        whole = longest * items**0.5
        if whole > limit_s:  # a slow worker ends itself over a whole task, each time; then its items come one by one
            whole = scenario.policy.attempts * (limit_s + scenario.intervals.silence_s) + items * longest
        work += tasks * whole
        work += (part.target - part.position) / part.world_size / plan.settings.batch_size * part.think_s * 2
    poison = sum(len(items) for items in scenario.poison.values())
    return scenario.heal_at + (100.0 + 2 * work + 20.0 * poison) * (_ENDLESS if scenario.forever else 1)


def check_chatter(sent: Counter[tuple[str, str, int]]) -> None:
    """Check that nobody talks without end; `sent`: messages by sender, kind and whole second."""
    for (name, kind, second), count in sent.items():
        limit = 1000 if kind in _WORK else _CHATTER
        assert count <= limit, f"{name} sent {count} {kind} in second {second}"
