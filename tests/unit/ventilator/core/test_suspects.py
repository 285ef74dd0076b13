"""Work that has cost a worker its life runs alone, on reserved workers."""

import pytest
from support.cores.leases_harness import CoreHarness, key
from support.plans import make_plan

from penstock.protocol.messages import TaskKey
from penstock.ventilator.core.item_deaths import ItemDeaths
from penstock.ventilator.core.worker import Worker


def test_who_may_have_killed_a_worker_runs_alone(harness: CoreHarness) -> None:
    """A worker's last words may die with it: an item is suspected in another's place once, and not a second time."""
    harness.miss((0, 9))
    harness.deal()
    harness.die(b"a")  # it had finished 0, unheard, and died of 1
    for turn in range(3):
        peer = f"b{turn}".encode()
        harness.join(peer, slots=3)
        for offset in range(4 if turn == 0 else 0):
            assert {peer: [key(0, offset)]} == harness.deal(), "with nothing else that could be to blame"
            harness.finish(peer, key(0, offset))
        if turn == 0:
            assert [key(1), key(2), key(3)] == harness.deal()[peer]
        else:
            assert {peer: [key(1, 0)]} == harness.deal()
        harness.die(peer)
    deaths = {unit: count for unit, count in harness.deaths().items() if unit.ordinal == 1}  # not of later epochs
    assert {key(1, 0): 3, key(1, 1): 1, key(1, 2): 1, key(1, 3): 1} == deaths


def test_a_reserved_worker_that_hangs_is_not_waited_for(harness: CoreHarness) -> None:
    """What is suspected goes to another worker when the one that was to run it is stuck in what it has."""
    harness.join(b"b", slots=1)
    harness.miss((0, 3))
    assert {b"a": [key(0), key(2)], b"b": [key(1)]} == harness.deal()
    harness.die(b"b")
    assert {} == harness.deal()
    harness.wait(2.5, b"a")
    harness.join(b"c")
    assert {b"c": [key(1, 0)]} == harness.deal()


def test_workers_that_were_reserved_take_any_work_again(harness: CoreHarness) -> None:
    """Once nothing is suspected all slots are used."""
    harness.join(b"b")
    harness.miss((0, 9))
    harness.deal()
    harness.die(b"a")
    for _ in range(20):
        for peer, keys in harness.deal().items():
            harness.finish(peer, *keys)
    held = harness.leases.workers[b"b"].held
    harness.finish(b"b", *held)
    harness.miss((20, 29))
    harness.deal()
    assert 0 == harness.leases.workers.reserved
    assert 2 == len(harness.leases.workers[b"b"].held)


def test_a_death_with_a_whole_epoch_is_got_over_in_few_steps() -> None:
    """One task is a source's epoch: all its items are suspects in each epoch, each run alone once, in order.

    The items of no task are looked up twice, and no more units are offered at once than workers could take soon.
    """
    harness = CoreHarness(make_plan(items=80, task_items=80))
    harness.sink()
    harness.join(b"a", slots=1)
    harness.miss((0, 6))
    assert {b"a": [key(0)]} == harness.deal()
    harness.die(b"a")
    harness.join(b"b", slots=1)
    queue = harness.leases.queues["train"]
    arrived: list[int] = []
    while len(arrived) < 80:
        assert len(queue.suspects(())) <= 64
        assert {b"b": [key(0, len(arrived))]} == harness.deal()
        harness.finish(b"b", key(0, len(arrived)))
        arrived.append(len(arrived))
        harness.miss((0, 6), partial=((0, tuple(arrived)),))
    assert {} == harness.deaths()
    harness.miss((1, 6), came=((0, 1),))
    assert [] == queue.suspects(())
    assert {b"b": [key(1, 0)]} == harness.deal(), "what was split goes on in order, with all slots"
    assert queue.deaths._find_items.cache_info().misses <= 6


@pytest.mark.parametrize(("items", "task_items"), [(1, 1), (1, 4), (7, 1), (8, 4), (9, 4), (10, 4)])
def test_units_of_one_item_are_known(items: int, task_items: int) -> None:
    """Whole tasks too, whatever the last task of an epoch holds."""
    plan = make_plan(items=items, task_items=task_items)
    deaths = ItemDeaths(plan, 3)
    for ordinal in range(3 * plan.geometry.tasks_per_epoch):
        assert (len(plan.indices(ordinal)) == 1) == deaths.is_single(key(ordinal))
        assert deaths.is_single(key(ordinal, 0))
        assert not deaths.is_single(TaskKey(stream="train", ordinal=ordinal, offsets=(0, 1)))


def test_many_suspects_cost_few_looks_at_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once half of the workers are reserved, and none of them is idle, no unit that waits is tried on each of them."""
    harness = CoreHarness(make_plan(items=4000, task_items=16))
    harness.sink()
    for number in range(40):
        harness.join(b"w%d" % number, slots=2)
    harness.miss((0, 200))
    harness.deal()
    for number in range(10):
        harness.die(b"w%d" % number)
    for _ in range(3):
        harness.deal()
    assert 15 == harness.leases.workers.reserved
    looks: list[Worker] = []
    able = Worker.__dict__["able"].fget

    def look(worker: Worker) -> bool:
        looks.append(worker)
        return bool(able(worker))

    monkeypatch.setattr(Worker, "able", property(look))
    harness.deal()
    assert len(looks) < 10 * 30
