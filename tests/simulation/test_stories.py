"""A simulated schedule that fails tells the story of the sample that went wrong."""

from collections.abc import Set as AbstractSet
from dataclasses import replace

import pytest
from simulation import worker_process
from simulation.families import make_scenario
from simulation.network import Weather
from simulation.world import World
from support.plans import make_result

from penstock.protocol.messages import Result, Task
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array

pytestmark = pytest.mark.simulation


def test_a_wrong_sample_fails_with_its_way_through_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault, one byte of the first result: the note names the task, who made it and where it went."""
    spoiled: list[Task] = []

    def spoil(
        plan: StreamPlan, task: Task, failing: AbstractSet[int] = frozenset(), worker: str = "w"
    ) -> tuple[Result, list[Array]]:
        result, arrays = make_result(plan, task, failing, worker)
        if len(arrays[0]) and (not spoiled or spoiled[0].key == task.key):
            spoiled.append(task)
            arrays[0] = arrays[0].copy()
            arrays[0].reshape(-1)[0] ^= 1
        return result, arrays

    monkeypatch.setattr(worker_process, "make_result", spoil)
    scenario = make_scenario(0)
    none = dict.fromkeys(scenario.poison, frozenset[int]())
    world = World(replace(scenario, faults=(), weather=Weather(), poison=none, failing=none))
    with pytest.raises(AssertionError, match="image is wrong") as failure:
        world.run()
    [note] = failure.value.__notes__
    key = spoiled[0].key
    assert f"task {key.stream}/{key.ordinal}:" in note
    order = [
        note.index(words)
        for words in ("missing at the sink", "leased to worker", "queued at worker", "arrived", "sent to rank")
    ]
    assert sorted(order) == order
