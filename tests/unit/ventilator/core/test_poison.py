"""Which work is charged with a worker's death, and what is given up for it."""

from support.cores.leases_harness import CoreHarness, key, kill_for
from support.plans import make_task

from penstock.protocol.messages import (
    Goodbye,
    Quarantined,
    Tasks,
)


def test_only_the_task_that_ran_is_charged_with_a_death(harness: CoreHarness) -> None:
    """The oldest lease is the one that runs: it is retried item by item, the others are not split."""
    harness.miss((0, 2))
    harness.deal()
    harness.die(b"a")
    for number in range(9):
        harness.join(f"b{number}".encode())
    dealt = []
    while sends := harness.take(harness.leases.dispatch(harness.now)):
        for send in sends:
            assert isinstance(send.message, Tasks)
            dealt += [(task.key, task.attempt, len(task.items)) for task in send.message.tasks]
    assert [(key(0, n), 1, 1) for n in range(4)] + [(key(1), 0, 4)] == sorted(dealt, key=str)


def test_a_task_that_could_not_be_sent_did_not_kill_who_was_to_get_it(harness: CoreHarness) -> None:
    """A worker that died idle is found unreachable when it is given something: that is not split, nor charged."""
    harness.miss((0, 1))
    harness.deal()
    harness.die(b"a", after_s=0.0)
    harness.join(b"b")
    assert {b"b": [key(0)]} == harness.deal()


def test_an_item_is_given_up_after_three_deaths_and_its_neighbours_survive(harness: CoreHarness) -> None:
    """The sink is told the item, the reason and the attempts; the other items of its task are delivered alone."""
    harness.hear(b"a", Goodbye())
    harness.miss((5, 6))
    names = iter(range(100))
    assert [] == kill_for(harness, key(5), names)
    assert [] == kill_for(harness, key(5, 0), names)
    [message] = kill_for(harness, key(5, 0), names)
    task = make_task(harness.plans["train"], key(5, 0))
    assert isinstance(message, Quarantined)
    assert (key(5, 0), 3, task.items[0].item, 0) == (
        message.key,
        message.failure.attempts,
        message.failure.item,
        message.failure.offset,
    )
    assert "died 3 times" in message.failure.reason
    assert [message.failure.path] == [note.fields["path"] for note in harness.noted("item quarantined")]
    harness.join(b"z", slots=9)
    for offset in (1, 2, 3):
        assert {b"z": [key(5, offset)]} == harness.deal()
        harness.finish(b"z", key(5, offset))


def test_an_item_that_was_given_up_is_told_until_the_sink_misses_it_no_more(harness: CoreHarness) -> None:
    """The message may be lost; then it is repeated with the heartbeats."""
    harness.hear(b"a", Goodbye())
    harness.miss((5, 6))
    names = iter(range(100))
    for wanted in (key(5), key(5, 0), key(5, 0)):
        kill_for(harness, wanted, names)
    assert 2 == sum(isinstance(message, Quarantined) for message in harness.wait(2.0))
    harness.miss((5, 6), partial=((5, (0,)),))
    assert 0 == sum(isinstance(message, Quarantined) for message in harness.wait(2.0))


def test_poison_is_remembered_in_later_epochs(harness: CoreHarness) -> None:
    """The item is given up again at once and its neighbours run alone: no worker dies of it a second time."""
    harness.hear(b"a", Goodbye())
    plan = harness.plans["train"]
    harness.miss((2, 3))
    names = iter(range(100))
    for wanted in (key(2), key(2, 1), key(2, 1), key(2, 1)):
        if wanted.item_offset:
            harness.miss((2, 3), partial=((2, (0,)),))
        kill_for(harness, wanted, names)
        if harness.leases.queues["train"].deaths.poison:
            break
    [item] = harness.leases.queues["train"].deaths.poison
    per_epoch = plan.geometry.tasks_per_epoch
    [(ordinal, offset)] = [
        (ordinal, task.index(item))
        for ordinal in range(per_epoch, 2 * per_epoch)
        if item in (task := [entry.item for entry in make_task(plan, key(ordinal)).items])
    ]
    told = harness.miss((ordinal, ordinal + 1))
    assert [(key(ordinal, offset), item)] == [(message.key, message.failure.item) for message in told]
    assert [offset] == [message.failure.offset for message in told]
    harness.join(b"z", slots=9)
    assert [key(ordinal, n) for n in range(4) if n != offset] == harness.deal()[b"z"]


def test_a_worker_that_comes_back_was_not_killed_by_its_task(harness: CoreHarness) -> None:
    """A lost link is not a death: under its incarnation it takes back what its task was charged."""
    policy_attempts = harness.leases.policy.attempts
    harness.miss((0, 1))
    for turn in range(3 * policy_attempts):
        harness.deal()
        harness.die(b"a" if turn == 0 else f"a{turn}".encode())
        harness.join(f"a{turn + 1}".encode(), incarnation="a")
    assert {} == harness.leases.queues["train"].deaths.poison
    assert {} == harness.deaths()


def test_a_death_whose_last_words_were_lost_is_charged_to_nobody(harness: CoreHarness) -> None:
    """The oldest lease had come already: which one ran is not known, and guessing would charge the innocent."""
    harness.miss((0, 2))
    harness.deal()
    harness.miss((1, 2))
    harness.die(b"a")
    assert ([key(1)], {}) == ([*harness.leases.queues["train"].works], harness.deaths())


def test_a_stalled_worker_s_death_is_charged_to_nothing_but_what_stalled_it(harness: CoreHarness) -> None:
    """Its task came from another worker meanwhile; what it never got to is not to blame."""
    harness.miss((0, 9))
    harness.deal()
    harness.wait(3.0, b"a")
    assert 1 == len(harness.noted("hedged"))
    harness.miss((1, 9))
    harness.die(b"a")
    assert {} == harness.deaths()
