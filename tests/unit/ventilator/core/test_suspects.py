"""Work that has cost a worker its life runs alone, on reserved workers."""

from support.cores.leases_harness import CoreHarness, key


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
