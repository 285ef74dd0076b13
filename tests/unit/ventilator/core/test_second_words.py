"""A failure that the sink doubts goes to another worker, and to the same one only where there is no other."""

from typing import Any

from support.cores.leases_harness import CoreHarness, key
from support.plans import LEASE_KEY, make_plan

from penstock.protocol.instructions import Send
from penstock.protocol.lease_proofs import LeaseProver, digest_of
from penstock.protocol.messages import Finished, Lease, SinkWelcome, Task, Tasks

PROVER = LeaseProver(LEASE_KEY)


def leased(harness: CoreHarness) -> dict[bytes, list[Task]]:
    """Return the tasks that are leased now, by worker; each lease must bear a proof."""
    out = {}
    for send in harness.take(harness.leases.dispatch(harness.now)):
        assert isinstance(send, Send)
        assert isinstance(send.message, Tasks)
        worker = harness.leases.workers[send.peer]
        for task in send.message.tasks:
            assert worker.number == task.lease.holder
            assert PROVER.proves(task.lease, task.key, worker.hello.worker)
            assert digest_of([item.name for item in task.items]) == task.lease.names
        out[send.peer] = list(send.message.tasks)
    return out


def doubt(harness: CoreHarness, *holders: int, **more: Any) -> list[Any]:
    """Let the sink say that it has items 1 to 3 of task 0 and doubts the failure of item 0."""
    return harness.miss((0, 1), partial=((0, (1, 2, 3)),), doubted=((0, 0, holders),), **more)


def begin(workers: int) -> CoreHarness:
    """Return a core whose first worker has finished task 0, which has one item that failed."""
    harness = CoreHarness(make_plan(items=20, task_items=4))
    [welcome] = harness.sink()
    assert isinstance(welcome, SinkWelcome)
    assert LEASE_KEY == welcome.leases
    harness.join(b"w1", slots=1)
    harness.miss((0, 1))
    assert [key(0)] == [task.key for task in leased(harness)[b"w1"]]
    harness.finish(b"w1", key(0))
    for number in range(2, workers + 1):
        harness.join(f"w{number}".encode(), slots=1)
    doubt(harness, 1)
    return harness


def test_another_worker_gets_the_item_alone() -> None:
    """The first one does not, although it has a free slot; the second one's lease is not vouched for."""
    harness = begin(2)
    [[peer, [task]]] = leased(harness).items()
    assert (b"w2", key(0, 0), False) == (peer, task.key, task.lease.vouched)
    harness.finish(b"w2", task.key)
    harness.miss()
    assert {} == harness.leases.queues["train"].works


def test_the_only_worker_gets_it_again_at_once_and_is_vouched_for() -> None:
    """Nothing waits for a worker that does not exist."""
    [[peer, [task]]] = leased(begin(1)).items()
    assert (b"w1", key(0, 0), True) == (peer, task.key, task.lease.vouched)


def test_a_busy_worker_is_waited_for_and_not_for_ever() -> None:
    """While the other worker may come free, the first one does not get the item; after a while it does."""
    harness = CoreHarness(make_plan(items=20, task_items=4))
    harness.sink()
    for peer in (b"w1", b"w2"):
        harness.join(peer, slots=1)
    harness.miss((0, 2))
    assert {b"w1", b"w2"} == set(leased(harness))
    harness.finish(b"w1", key(0))
    for _ in range(19):
        harness.miss((0, 2), partial=((0, (1, 2, 3)),), doubted=((0, 0, (1,)),))
        assert {} == leased(harness)
        harness.wait(1.0, b"w1", b"w2")
    harness.wait(2.0, b"w1", b"w2")
    [[peer, [task]]] = leased(harness).items()
    assert (b"w1", key(0, 0), True) == (peer, task.key, task.lease.vouched)


def test_a_worker_that_was_lost_lately_is_waited_for() -> None:
    """It may come back: a worker must not get the last word because the others restart."""
    harness = begin(2)
    harness.die(b"w2")
    for _ in range(19):
        assert {} == leased(harness)
        harness.wait(1.0, b"w1")
    harness.join(b"w3", slots=1)
    assert [b"w3"] == list(leased(harness))


def test_a_doubt_that_ends_leaves_the_item_to_any_worker() -> None:
    """A sink that restarts knows of none: the item is made by whoever is free, without a word on the lease."""
    harness = begin(2)
    harness.miss((0, 1), partial=((0, (1, 2, 3)),))
    harness.leases.workers.reserve(b"w2")
    [[peer, [task]]] = leased(harness).items()
    assert (b"w1", False) == (peer, task.lease.vouched)


def test_doubts_of_tasks_that_are_not_missing_are_ignored() -> None:
    """Whatever a sink says: no such task, no such item, the same one twice."""
    harness = begin(2)
    harness.miss((0, 1), partial=((0, (1, 2, 3)),), doubted=((0, 0, (1,)), (0, 0, (1,)), (0, 9, (1,)), (7, 0, ())))
    assert [b"w2"] == list(leased(harness))


def test_a_result_that_came_except_for_doubts_counts_as_arrived() -> None:
    """Its sender is not benched for results that do not arrive."""
    harness = begin(2)
    for _ in range(4):
        harness.wait(8.0, b"w1", b"w2")
        leased(harness)
        doubt(harness, 1)
    assert [] == harness.noted("results do not arrive")
    harness.hear(b"w1", Finished(done=()))


def test_a_doubted_item_that_ran_alone_goes_to_another_worker_at_once() -> None:
    """Its failure has come, so nothing is waited for, and the worker that reported it is not benched for it."""
    harness = begin(2)
    [[peer, [task]]] = leased(harness).items()
    harness.finish(peer, task.key)
    doubt(harness)  # the first worker's word does not count any more
    doubt(harness, 2)
    [[other, [again]]] = leased(harness).items()
    assert (b"w1", task.key, False) == (other, again.key, again.lease.vouched)
    for _ in range(4):
        harness.wait(2.0, b"w1", b"w2")
        doubt(harness, 2)
    assert {} == leased(harness), "the other worker has it"
    assert [] == harness.noted("results do not arrive")


def test_a_proof_is_of_one_unit_one_worker_and_one_key() -> None:
    """Nothing in a lease can be changed, and no other key proves it."""
    lease = PROVER.lease(key(3), "w", 5, ["a", "b"])
    assert PROVER.proves(lease, key(3), "w")
    other = LeaseProver(LEASE_KEY.model_copy(update={"secret": "0" * 32}))
    assert not other.proves(lease, key(3), "w")
    for unit in (key(4), key(3, 0), key(3, stream="x")):
        assert not PROVER.proves(lease, unit, "w")
    changes = ({"holder": 6}, {"vouched": True}, {"names": ""}, {"proof": ""}, {"proof": "0" * 32})
    for change in changes:
        assert not PROVER.proves(lease.replaced(**change), key(3), "w")
    assert not PROVER.proves(Lease(), key(3), "w")
    assert not PROVER.proves(lease, key(3), "w2")
