"""Deaths are counted by item: in whatever unit of work it was, and only where a worker may have died of it."""

import pytest
from support.cores.leases_harness import INTERVALS, CoreHarness, key, kill_for
from support.plans import make_plan, make_task

from penstock.protocol.messages import Finished, Goodbye, Quarantined, Reset, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.leases import LeasePolicy


def _kill_all(harness: CoreHarness, killer: int, *, workers: int, slots: int = 2) -> tuple[int, list[Quarantined]]:
    """Let workers run all that is missing while one item kills them; return the deaths and what was given up."""
    plan = harness.plans["train"]
    deaths, told, names = 0, [], iter(range(10_000))
    for _ in range(workers):
        harness.join(f"w{next(names)}".encode(), slots)
    while harness.deal() or any(worker.held for worker in harness.leases.workers.values()):
        for peer, worker in list(harness.leases.workers.items()):
            if worker.running is None or peer not in harness.leases.workers:
                continue
            if killer not in _items(plan, worker.running):
                harness.finish(peer, worker.running)
                continue
            if worker.running in harness.deaths():
                harness.beat(peer, *worker.held)
            deaths += 1
            answers = harness.die(peer)
            told += [each for each in answers if isinstance(each, Quarantined)]
            for _ in range(workers - len(harness.leases.workers)):
                harness.join(f"w{next(names)}".encode(), slots)
    return deaths, told


def _items(plan: StreamPlan, unit: TaskKey) -> list[int]:
    return [item.item for item in make_task(plan, unit).items]


@pytest.mark.parametrize("task_items", [1, 4, 12])
@pytest.mark.parametrize("epochs", [1, 3, 20])
def test_an_item_costs_three_workers_however_many_epochs_the_window_holds(task_items: int, epochs: int) -> None:
    """The units of all epochs that hold the item are split or given up with it: no worker dies of it again."""
    harness = CoreHarness(make_plan(items=12, task_items=task_items))
    harness.sink()
    tasks = epochs * harness.plans["train"].geometry.tasks_per_epoch
    harness.miss((0, tasks))
    deaths, told = _kill_all(harness, killer=7, workers=1)
    assert (3, {7}) == (deaths, {message.failure.item for message in told})
    works = harness.leases.queues["train"].works
    given_up = [work.failure.item for work in works.values() if work.failure]
    assert [7] * epochs == given_up


def test_units_that_run_at_the_same_time_cost_one_worker_each_and_the_item_alone_one_more() -> None:
    """Four workers run four epochs at once; what is queued behind them is taken back and no other worker dies."""
    harness = CoreHarness(make_plan(items=12, task_items=12))
    harness.sink()
    harness.miss((0, 20))
    deaths, told = _kill_all(harness, killer=7, workers=4)
    assert {7} == {message.failure.item for message in told}
    assert 5 >= deaths
    assert 20 == sum(bool(work.failure) for work in harness.leases.queues["train"].works.values())


def test_a_worker_whose_queue_holds_a_suspect_empties_it() -> None:
    """There is no message that takes one task back: the worker is told to say hello again."""
    harness = CoreHarness(make_plan(items=4, task_items=4))
    harness.sink()
    harness.join(b"a", slots=1)
    harness.join(b"b", slots=3)
    harness.join(b"c", slots=1)
    harness.miss((0, 5))
    given = harness.deal()
    assert 3 == len(given[b"b"])
    assert [Reset()] == [each for each in harness.die(b"a") if isinstance(each, Reset)]
    assert [b"c"] == list(harness.leases.workers), "what runs there is not taken back"
    assert {"b"} == {note.fields["worker"] for note in harness.noted("queue emptied")}


def test_a_suspect_that_a_worker_finishes_is_cleared_and_its_neighbours_with_it(harness: CoreHarness) -> None:
    """A unit that held suspects, was finished and reached the sink shows that none of them kills."""
    harness.join(b"b", slots=1)
    harness.miss((0, 2), (5, 7))
    harness.deal()
    harness.die(b"a")
    assert {key(0, offset) for offset in range(4)} == set(harness.deaths())
    harness.finish(b"b", key(1))
    for _ in range(4):
        for peer, keys in harness.deal().items():
            harness.finish(peer, *keys)
    assert harness.leases.queues["train"].deaths, "the sink still misses their samples"
    harness.miss()
    assert not harness.leases.queues["train"].deaths


def test_a_line_that_fails_while_nobody_dies_gives_nothing_up() -> None:
    """A one-item task is hedged to three workers that cannot be heard: they are one outage, and count once."""
    harness = CoreHarness(make_plan(items=12, task_items=1))
    harness.sink()
    for name in (b"a", b"b", b"c"):
        harness.join(name, slots=1)
    harness.miss((0, 12))
    harness.deal()
    for _ in range(60):  # no heartbeats, for as long as the ventilator waits; then the next three workers
        harness.wait(0.25)
        harness.deal()
    assert {} == harness.leases.queues["train"].deaths.poison
    assert 1 >= max(harness.deaths().values(), default=0)


def test_a_worker_acquits_no_item_whose_result_never_arrives() -> None:
    """It says between all deaths that it has finished the item that kills the others: that costs three of these."""
    harness = CoreHarness(make_plan(items=1, task_items=1), policy=LeasePolicy(confirm_s=1.0))
    harness.sink()
    harness.miss((0, 1))
    lies, deaths = 0, 0
    while not harness.leases.queues["train"].deaths.poison:
        harness.join(b"liar", slots=1)
        [[unit]] = harness.deal().values()
        harness.finish(b"liar", unit)
        lies += 1
        harness.wait(10.0, b"liar")
        harness.hear(b"liar", Goodbye())
        honest = f"w{deaths}".encode()
        harness.join(honest, slots=1)
        assert {honest: [unit]} == harness.deal()
        harness.beat(honest, unit)
        harness.die(honest)
        deaths += 1
        assert 3 >= deaths
    assert (3, 3) == (lies, deaths)


@pytest.mark.parametrize("says_so_late", [False, True])
def test_a_claim_to_have_finished_what_nobody_wants_any_more_acquits_no_item(*, says_so_late: bool) -> None:
    """The trainer seeks elsewhere, before or after the lie: the item still costs no more than three workers."""
    harness = CoreHarness(make_plan(items=1, task_items=1))
    harness.sink()
    for deaths in range(3):
        harness.miss((deaths, deaths + 1), came=())
        harness.join(b"liar", slots=1)
        [[unit]] = harness.deal().values()
        if says_so_late:
            harness.miss(came=())
            harness.finish(b"liar", unit)
        else:
            harness.finish(b"liar", unit)
            harness.miss(came=())
        harness.miss((deaths, deaths + 1), came=())
        harness.hear(b"liar", Goodbye())
        honest = f"w{deaths}".encode()
        harness.join(honest, slots=1)
        [[unit]] = harness.deal().values()
        harness.beat(honest, unit)
        harness.die(honest)
    assert {0} == set(harness.leases.queues["train"].deaths.poison)


def test_a_result_that_comes_acquits_although_no_worker_says_that_it_was_sent(harness: CoreHarness) -> None:
    """Its worker's word may be lost, and does not matter."""
    harness.miss((0, 1))
    harness.hear(b"a", Goodbye())
    harness.join(b"b", slots=1)
    harness.deal()
    harness.die(b"b")
    harness.miss((0, 1), partial=((0, (0, 2)),))
    assert {key(0, 1), key(0, 3)} == set(harness.deaths())
    harness.miss()
    assert not harness.leases.queues["train"].deaths


def test_an_item_that_came_once_is_not_acquitted_of_what_it_does_later() -> None:
    """The sink repeats what it holds of a task; the item stands in a later epoch, too, and kills there."""
    harness = CoreHarness(make_plan(items=2, task_items=2))
    harness.sink()
    harness.miss((0, 2))
    names = iter(range(100))
    kill_for(harness, key(0), names)
    [killer] = harness.leases.queues["train"].deaths.items(key(0, 0))
    held = ((0, (0,)),)
    harness.miss((0, 2), partial=held)
    [later] = [unit for unit in (key(1, 0), key(1, 1)) if [killer] == _items(harness.plans["train"], unit)]
    kill_for(harness, later, names)
    charged = harness.deaths()
    assert later in charged
    harness.miss((0, 2), partial=held)
    assert charged == harness.deaths()


def test_workers_that_hung_up_after_a_silence_are_one_outage() -> None:
    """Three that run an item lose the line and give it up; that is no proof of their deaths, as a sudden end is."""
    for heard_s, given_up in ((4.0, 0), (0.5, 1)):
        harness = CoreHarness(make_plan(items=1, task_items=1))
        harness.sink()
        for name in (b"a", b"b", b"c"):
            harness.join(name, slots=1)
        harness.miss((0, 3))
        for name, [unit] in harness.deal().items():
            harness.beat(name, unit)
        harness.wait(heard_s)
        for name in (b"a", b"b", b"c"):
            harness.die(name)
        assert given_up == len(harness.leases.queues["train"].deaths.poison)


def test_losses_of_workers_that_never_said_they_had_the_item_count_a_third() -> None:
    """Their tasks may have got lost on the line; an item that kills at once, unheard, is given up all the same."""
    harness = CoreHarness(make_plan(items=1, task_items=1))
    harness.sink()
    harness.miss((0, 1))
    lost = 0
    while not harness.leases.queues["train"].deaths.poison:
        harness.join(f"w{lost}".encode(), slots=1)
        harness.deal()
        harness.wait(INTERVALS.silence_s + 1.0)
        lost += 1
        assert 20 > lost, "an item that is never given up stops the stream for good"
    assert 1 + 3 * 2 == lost


def test_what_was_given_up_for_a_worker_that_is_back_is_made_after_all(harness: CoreHarness) -> None:
    """Its silence was no death: the item is needed again where it is still missing, and made."""
    harness.hear(b"a", Goodbye())
    harness.miss((5, 6))
    names = iter(range(100))
    for wanted in (key(5), key(5, 0), key(5, 0)):
        kill_for(harness, wanted, names)
    assert 1 == len(harness.leases.queues["train"].deaths.poison)
    [last] = [note.fields["worker"] for note in harness.noted("worker unreachable")][-1:]
    harness.join(b"back", slots=1, incarnation=str(last))
    assert {} == harness.leases.queues["train"].deaths.poison
    assert 1 == len(harness.noted("quarantine revoked"))
    assert {b"back": [key(5, 0)]} == harness.deal()
    harness.hear(b"back", Finished(done=()))
    harness.finish(b"back", key(5, 0))
    assert key(5, 0) in harness.deaths()
    harness.miss((5, 6), partial=((5, (0,)),))
    assert not harness.leases.queues["train"].deaths.concerns(key(5, 0))
