"""Work goes to the host that keeps its images, tasks are cut for that, and nobody waits for it."""

from collections import Counter
from itertools import chain, groupby

import numpy as np
import pytest
from support.cores.leases_harness import CoreHarness, key
from support.plans import make_plan

from penstock.protocol.messages import Goodbye, Progress, StreamNeed, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Cache
from penstock.ventilator.core.hosts.homes import Homes

ITEMS = np.arange(10_000, dtype=np.int64)


def caching(plan: StreamPlan) -> StreamPlan:
    """Return a stream that keeps decoded images."""
    return plan.model_copy(update={"settings": plan.settings.model_copy(update={"cache": Cache(gb=1.0)})})


def homes_of(**workers: int) -> Homes:
    """Return the homes with so many workers on each host."""
    homes = Homes()
    homes.update(workers)
    return homes


def each(homes: Homes) -> list[str]:
    """Return the home of every item."""
    return [homes.home(ITEMS[n : n + 1]) for n in range(len(ITEMS))]


def test_homes_follow_from_the_hosts_alone_and_are_even() -> None:
    """Whatever the order in which they come: a restarted ventilator finds the same; by their workers, within 3 %."""
    found = each(homes_of(a=4, b=4, c=8))
    assert found == each(homes_of(c=8, a=4, b=4))
    counts = Counter(found)
    for host, share in {"a": 0.25, "b": 0.25, "c": 0.5}.items():
        assert abs(counts[host] / len(ITEMS) - share) < 0.03, counts


def test_a_host_that_joins_or_leaves_changes_only_its_own_homes() -> None:
    """What the others keep stays at home there."""
    few, many = each(homes_of(a=2, b=2)), each(homes_of(a=2, b=2, c=2))
    assert all(after in (before, "c") for before, after in zip(few, many, strict=True))
    assert abs(many.count("c") / len(ITEMS) - 1 / 3) < 0.03


def test_a_worker_that_is_started_again_changes_nothing() -> None:
    """Its host keeps the weight that it had, until it has no worker any more."""
    homes = homes_of(a=4, b=4)
    before = each(homes)
    assert not homes.update({"a": 3, "b": 4})
    assert before == each(homes)
    assert homes.update({"a": 5, "b": 4})
    assert homes.update({"b": 4})
    assert not homes


def test_any_number_of_hosts_takes_bounded_memory() -> None:
    """A worker may call its host as it likes; those with most workers have homes."""
    homes = homes_of(**{f"h{n}": 1 + (n < 5) for n in range(1000)})
    found = Counter(each(homes))
    assert len(found) <= 128
    assert {f"h{n}" for n in range(5)} <= found.keys()


def test_a_task_is_cut_into_a_part_for_each_home() -> None:
    """Each item stands in one part; a part has one home, but for what is too small to stand alone."""
    homes = homes_of(**{f"h{n}": 2 for n in range(5)})
    for start in range(0, len(ITEMS), 32):
        items = ITEMS[start : start + 32]
        parts = homes.cut(items)
        assert list(range(len(items))) == sorted(chain.from_iterable(parts))
        mixed = [part for part in parts if len({homes.home(items[[place]]) for place in part}) > 1]
        assert len(mixed) <= 1
        assert all(part == tuple(sorted(part)) for part in parts)
    assert [] == homes.cut(ITEMS[:3])
    assert [] == homes_of(a=3).cut(ITEMS[:32])


@pytest.fixture
def hosts() -> CoreHarness:
    """Return a core with a stream that keeps images, and a worker on each of two hosts."""
    harness = CoreHarness(caching(make_plan(items=2000, task_items=20)))
    harness.sink()
    for host in ("left", "right"):
        harness.join(host.encode(), slots=4, host=host)
    return harness


def home_of(harness: CoreHarness, unit: TaskKey) -> str:
    """Return the home of a unit of work."""
    return harness.leases.queues["train"].parts.home(unit)


def test_each_host_gets_what_is_at_home_there(hosts: CoreHarness) -> None:
    """Both have their parts of the first tasks, which together are these tasks."""
    hosts.miss((0, 4))
    dealt = hosts.deal()
    assert {b"left", b"right"} == dealt.keys()
    for peer, units in dealt.items():
        assert 4 == len(units)
        assert {peer.decode()} == {home_of(hosts, unit) for unit in units}
    for ordinal in range(4):
        units = [unit for unit in chain.from_iterable(dealt.values()) if unit.ordinal == ordinal]
        assert list(range(20)) == sorted(chain.from_iterable(unit.offsets for unit in units))


def test_nobody_idles_for_the_sake_of_a_home(hosts: CoreHarness) -> None:
    """When the other host is gone silent with all its slots taken, what is at home there goes to whoever is free."""
    hosts.miss((0, 4))
    hosts.finish(b"left", *hosts.deal()[b"left"])
    hosts.miss((0, 8))
    assert ["left"] * 4 == [home_of(hosts, unit) for unit in hosts.deal()[b"left"]]
    hosts.finish(b"left", *hosts.leases.workers[b"left"].held)
    stolen = hosts.deal()[b"left"]
    assert [(4, "right"), (5, "right")] == [(unit.ordinal, home_of(hosts, unit)) for unit in stolen]
    assert {} == hosts.deal()  # it runs one and reads the other: more of what is at home elsewhere can wait
    hosts.finish(b"left", stolen[0])
    assert [(6, "right")] == [(unit.ordinal, home_of(hosts, unit)) for unit in hosts.deal()[b"left"]]


def test_one_host_alone_or_a_stream_without_a_cache_cuts_nothing() -> None:
    """As without homes."""
    for plan, names in ((caching(make_plan(items=2000, task_items=20)), "aa"), (make_plan(items=2000), "ab")):
        harness = CoreHarness(plan)
        harness.sink()
        for number, host in enumerate(names):
            harness.join(b"%d" % number, slots=4, host=host)
        harness.miss((0, 8))
        assert [key(n) for n in range(8)] == sorted(
            chain.from_iterable(harness.deal().values()), key=lambda u: u.ordinal
        )


def test_tasks_that_wait_whole_are_cut_when_a_second_host_comes() -> None:
    """What is leased already stays as it is."""
    harness = CoreHarness(caching(make_plan(items=2000, task_items=20)))
    harness.sink()
    harness.join(b"left", slots=2, host="left")
    harness.miss((0, 4))
    assert {b"left": [key(0), key(1)]} == harness.deal()
    harness.now += 1.0
    harness.join(b"right", slots=8, host="right")
    units = list(chain.from_iterable(harness.deal().values()))
    assert all(unit.offsets and "right" == home_of(harness, unit) for unit in units[:2])
    assert {2, 3} == {unit.ordinal for unit in units}


def test_a_part_whose_worker_dies_is_run_item_by_item(hosts: CoreHarness) -> None:
    """Only the part is split; the other one is finished as it is."""
    hosts.miss((0, 1))
    dealt = hosts.deal()
    [part] = dealt[b"left"]
    hosts.take(hosts.leases.gone(b"left", hosts.now + 1.0))
    units = hosts.leases.queues["train"].parts.units(0)
    assert {*part.offsets} == {unit.item_offset for unit in units if unit.item_offset is not None}
    assert [*dealt[b"right"]] == [unit for unit in units if unit.offsets]


def miss(harness: CoreHarness, **spans: tuple[int, int]) -> None:
    """Let the sink say which tasks it misses of each stream."""
    harness.sequence += 1
    needs = tuple(StreamNeed(stream=name, missing=(span,)) for name, span in spans.items())
    harness.hear(b"sink", Progress(sequence=harness.sequence, needs=needs))


def two_streams(*, both_keep: bool) -> CoreHarness:
    """Return a core with two streams, of which one or both keep decoded images."""
    one, other = (make_plan(name, items=20_000, task_items=20, window_samples=1280) for name in ("A", "B"))
    harness = CoreHarness(caching(one), caching(other) if both_keep else other)
    harness.sink()
    return harness


@pytest.mark.parametrize("both_keep", [True, False])
def test_streams_take_turns_at_a_worker_whatever_waits_for_other_hosts(*, both_keep: bool) -> None:
    """Work of one stream that waits for a busy host's own worker does not let that stream, or the other, starve."""
    harness = two_streams(both_keep=both_keep)
    for host in ("x", "y"):
        harness.join(host.encode(), slots=3, host=host)
    miss(harness, A=(0, 64), B=(0, 64))
    got = [unit.stream for unit in harness.deal()[b"y"]]
    for _ in range(20):
        harness.finish(b"y", next(iter(harness.leases.workers[b"y"].held)))
        got += [unit.stream for unit in harness.deal().get(b"y", [])]
    runs = [len(list(run)) for _, run in groupby(got)]
    assert max(runs) <= 6, got


def test_no_slot_stays_free_while_another_stream_has_work_for_it() -> None:
    """One stream has only what a full host keeps; the workers of other hosts take the other stream's work."""
    harness = two_streams(both_keep=False)
    harness.join(b"x", slots=1, host="x")
    harness.join(b"y", slots=8, host="y")
    miss(harness, A=(0, 2))
    harness.finish(b"y", *harness.deal()[b"y"])
    harness.join(b"z", slots=8, host="z")
    miss(harness, A=(0, 6), B=(0, 30))
    harness.deal()
    workers = harness.leases.workers
    assert [0, 0, 0] == [workers[peer].free for peer in (b"x", b"y", b"z")]
    assert any(work.ready for work in harness.leases.queues["B"].works.values()), "there was more than slots"


def test_parts_that_workers_hold_are_not_leased_again_when_the_sink_comes_back() -> None:
    """As whole tasks are not: the results are on their way."""
    harness = CoreHarness(caching(make_plan(items=2000, task_items=20)))
    harness.sink()
    for host in ("left", "right"):
        harness.join(host.encode(), slots=3, host=host)
    harness.miss((0, 2))
    assert {b"left", b"right"} == set(harness.deal())
    harness.hear(b"sink", Goodbye())
    harness.now += 0.5
    harness.sink()
    harness.miss((0, 2))
    assert {} == harness.deal()


@pytest.mark.parametrize("arrived", [True, False])
def test_a_part_that_hangs_is_hedged_whatever_became_of_the_task_s_other_parts(*, arrived: bool) -> None:
    """Also if another part's result was lost: it does not hide the one that hangs."""
    harness = CoreHarness(caching(make_plan(items=2000, task_items=20)))
    harness.sink()
    for peer, host in ((b"left", "left"), (b"right", "right"), (b"third", "left")):
        harness.join(peer, slots=3, host=host)
    harness.miss((0, 1))
    dealt = harness.deal()
    first, second = harness.leases.queues["train"].parts.units(0)[:2]
    [quick] = [peer for peer, units in dealt.items() if first in units]
    harness.finish(quick, first)
    if arrived:
        harness.miss((0, 1), came=(), partial=((0, first.offsets),))
    while not harness.noted("hedged") and harness.now < 8.0:
        harness.wait(0.5, *harness.leases.workers)
    assert harness.noted("hedged"), f"{second} hangs"


def test_an_item_that_needs_a_second_word_is_found_in_its_part() -> None:
    """The part that holds it becomes single items, and no other part does."""
    harness = CoreHarness(caching(make_plan(items=2000, task_items=20)))
    harness.sink()
    for host in ("left", "right"):
        harness.join(host.encode(), slots=3, host=host)
    harness.miss((0, 1))
    harness.deal()
    parts = harness.leases.queues["train"].parts
    first, *others = parts.units(0)
    offset = first.offsets[-1]
    assert first == parts.holding(0, offset)
    assert parts.holding(0, 20) is None
    harness.miss((0, 1), doubted=((0, offset, (1,)),))
    assert [*(key(0, each) for each in first.offsets), *others] == list(parts.units(0))
    assert parts.holding(0, offset) is None
    assert parts.holding(0, others[0].offsets[0]) == others[0]
