"""Batches as readers get them: rounds, epochs' ends, windows."""

from support.cores.assembly_harness import CoreHarness, items_of
from support.plans import (
    ExpectedBatch,
    expected,
    make_plan,
)

from penstock.protocol.messages import (
    Credit,
    EpochEnd,
    Goodbye,
)


def test_batches_leave_in_order_as_soon_as_they_are_complete() -> None:
    """Results come in any order; nothing overtakes, nothing waits longer than it must."""
    harness = CoreHarness(make_plan(items=20, task_items=4, batch_size=4))
    harness.subscribe()
    harness.result(1)
    harness.result(2)
    assert [] == harness.spans()
    harness.result(0)
    assert [(0, 4), (4, 8), (8, 12)] == harness.spans()


def test_ranks_share_each_round_and_get_equally_many_batches() -> None:
    """A short last round is shared out evenly; all ranks agree on every position."""
    plan = make_plan(items=22, task_items=4, batch_size=3, window_samples=100)
    harness = CoreHarness(plan)
    for rank in range(2):
        harness.subscribe(bytes([rank]), rank=rank, world_size=2)
    for ordinal in range(plan.geometry.tasks_per_epoch):
        harness.result(ordinal)
    assert [(0, 6), (6, 12), (12, 18), (18, 22)] == harness.spans(bytes([0])) == harness.spans(bytes([1]))
    shares = [[each[1] for each in harness.got[bytes([rank])] if isinstance(each, tuple)] for rank in range(2)]
    joined = [item for pair in zip(*shares, strict=True) for share in pair for item in share]
    assert items_of(plan, *range(6)) == joined
    assert [3, 3, 3, 2] == [len(share) for share in shares[0]]


def test_a_round_smaller_than_the_world_is_dropped_for_all() -> None:
    """Otherwise some ranks would get a batch and others wait for ever."""
    plan = make_plan(items=13, task_items=13, batch_size=4)
    harness = CoreHarness(plan)
    for rank in range(3):
        harness.subscribe(bytes([rank]), rank=rank, world_size=3)
    harness.result(0)
    assert [[(0, 12)]] * 3 == [harness.spans(bytes([rank])) for rank in range(3)]
    assert {(13, 12, 0, 1)} == {
        (end.expected, end.delivered, end.quarantined, end.dropped)
        for rank in range(3)
        for end in harness.ends(bytes([rank]))
    }


def test_drop_remainder_drops_and_says_so() -> None:
    """An epoch's incomplete last batch is dropped and counted, and the next epoch starts afresh."""
    harness = CoreHarness(make_plan(items=10, task_items=5, batch_size=4, drop_remainder=True))
    harness.subscribe()
    for ordinal in range(4):
        harness.result(ordinal)
    assert [(0, 4), (4, 8), (10, 14), (14, 18)] == harness.spans()
    assert [(0, 10, 8, 2), (1, 10, 8, 2)] == [
        (end.epoch, end.expected, end.delivered, end.dropped) for end in harness.ends()
    ]


def test_an_epoch_s_end_needs_no_credit() -> None:
    """A trainer that holds the last batch learns that it was the last before it gives that batch back."""
    harness = CoreHarness(make_plan(items=4, task_items=4, batch_size=4))
    harness.subscribe(limit=1)
    harness.result(0)
    assert 1 == len(harness.ends())
    assert 1 == harness.ends()[0].sequence


def test_epochs_without_a_batch_wait_for_credit() -> None:
    """Where hardly any item survives, credit still holds the stream back."""
    plan = make_plan(items=4, task_items=4, batch_size=2, drop_remainder=True)
    harness = CoreHarness(plan)
    harness.subscribe(limit=1)
    harness.result(0)
    failing = frozenset(items_of(plan, 0)[:3])
    assert [(0, 2)] == harness.spans()
    harness.hear(b"t", Credit(consumed=0, limit=2))
    for ordinal in (1, 1, 2, 2):  # so many failures take two workers' word
        harness.result(ordinal, failing=failing)
    assert [0] == [end.epoch for end in harness.ends()]
    harness.hear(b"t", Credit(consumed=2, limit=3))
    assert [0, 1, 2] == [end.epoch for end in harness.ends()]


def test_a_reader_may_begin_anywhere() -> None:
    """In the middle of a task, of a mix window, of an epoch: it gets what an uninterrupted reader gets from there."""
    plan = make_plan(items=12, patches=3, mix=4, task_items=2, batch_size=5)
    for position in range(40):
        harness = CoreHarness(plan)
        harness.subscribe(position=position)
        wanted = expected(plan, frozenset(), position)
        while len(harness.got.get(b"t", [])) < 4:
            missing = harness.missing()
            assert missing, "nothing is missing and nothing comes"
            for ordinal in missing:
                harness.result(ordinal)
        for each in harness.got[b"t"]:
            want = next(wanted)
            if isinstance(want, ExpectedBatch):
                assert isinstance(each, tuple)
                assert (want.start, want.stop, [s.item for s in want.samples]) == (each[0].start, each[0].stop, each[1])
            else:
                assert isinstance(each, EpochEnd)
                assert min(36, 36 * (each.epoch + 1) - position) == each.expected


def test_a_batch_s_stop_does_not_depend_on_what_came_when() -> None:
    """Failures behind the last survivor may be known when it is sent or not: the position saved is the same."""
    plan = make_plan(items=8, task_items=4, batch_size=4)
    failing = frozenset(items_of(plan, 1))
    for order in ((0, 1, 1), (1, 1, 0)):  # so many failures take two workers' word
        harness = CoreHarness(plan)
        harness.subscribe()
        for ordinal in order:
            harness.result(ordinal, failing=failing)
        assert [(0, 4)] == harness.spans()
        assert [(4, 8, 4)] == [(end.quarantined, end.stop, end.delivered) for end in harness.ends()]


def test_what_is_sent_and_not_consumed_counts_against_the_window() -> None:
    """Memory is bounded by the trainer's pace: nothing more is asked for until it consumes."""
    plan = make_plan(items=1000, task_items=4, batch_size=4, window_samples=40)
    harness = CoreHarness(plan)
    harness.subscribe()
    assert list(range(10)) == harness.missing()
    for ordinal in range(10):
        harness.result(ordinal)
    assert 10 == len(harness.spans())
    assert [] == harness.missing()
    harness.hear(b"t", Credit(consumed=3, limit=100))
    assert [10, 11, 12] == harness.missing()


def test_a_reader_whose_batch_is_larger_than_the_epoch_waits_for_the_epoch_only() -> None:
    """It is starved while the rest of the window has room for one more epoch, and no longer."""
    plan = make_plan(items=8, task_items=4, batch_size=1000, window_samples=1)
    harness = CoreHarness(plan)
    harness.subscribe()
    [reader] = harness.core.streams.readers.values()
    assert [(0, 16 + 8), True] == [(0, plan.window()), reader.starved]
    for ordinal in range(4):
        harness.result(ordinal)
    assert [(0, 8), (8, 16)] == harness.spans()
    assert [True] == [reader.starved]
    for ordinal in (4, 5):
        harness.result(ordinal)
    assert [(0, 8), (8, 16), (16, 24)] == harness.spans()
    assert [False] == [reader.starved]
    assert [] == harness.missing()


def test_a_window_is_one_reader_s_own() -> None:
    """What is here for another reader does not go to one whose window is full of batches that it did not consume."""
    harness = CoreHarness(make_plan(items=1000, task_items=4, batch_size=4, window_samples=40))
    harness.subscribe(b"idle")
    harness.subscribe(b"busy")
    for ordinal in range(15):
        harness.hear(b"busy", Credit(consumed=len(harness.spans(b"busy")), limit=100))
        harness.result(ordinal)
    assert [10, 15] == [len(harness.spans(peer)) for peer in (b"idle", b"busy")]
    harness.hear(b"idle", Credit(consumed=1, limit=100))
    assert [] == harness.spans(b"idle")[11:]


def test_failures_do_not_use_up_the_window() -> None:
    """However many items in a row fail, the window reaches the next that survive."""
    plan = make_plan(items=400, task_items=4, batch_size=4)
    failing = frozenset(items_of(plan, *range(80)))
    harness = CoreHarness(plan)
    harness.subscribe()
    for _ in range(80):
        for ordinal in harness.missing():
            harness.result(ordinal, failing=failing)
    assert (0, 324) == harness.spans()[0]


def test_failures_far_ahead_belong_to_the_reader_there() -> None:
    """One reader's window never rests on blocks that are held for another."""
    plan = make_plan(items=100, task_items=4, batch_size=4)
    harness = CoreHarness(plan)
    harness.subscribe(b"a")
    before = harness.missing()
    harness.subscribe(b"b", position=80)
    for ordinal in range(20, 24):
        harness.result(ordinal, failing=frozenset(items_of(plan, ordinal)[1:]))
    assert before == [ordinal for ordinal in harness.missing() if ordinal < 20]
    harness.hear(b"b", Goodbye())
    assert before == harness.missing()


def test_what_no_reader_wants_is_dropped_at_once() -> None:
    """Memory is given back when the last reader has passed, or left."""
    harness = CoreHarness(make_plan(items=100, task_items=4, batch_size=4))
    harness.subscribe(b"a")
    harness.subscribe(b"b", limit=1)
    for ordinal in range(4):
        harness.result(ordinal)
    store = harness.core.streams.stores["train"]
    assert {4, 8, 12} == store.starts()
    harness.hear(b"b", Goodbye())
    assert set() == store.starts()


def test_a_report_names_what_has_come_and_not_what_lost_its_reader() -> None:
    """What is held, and once what was delivered or dropped since the last report; no task of which a part came."""
    harness = CoreHarness(make_plan(items=100, task_items=4, batch_size=4))
    harness.subscribe(b"a")
    for ordinal in (0, 1, 3):
        harness.result(ordinal)
    harness.result(2, 1)
    told = [harness.need(), harness.need()]
    assert [((0, 2), (3, 4)), ((3, 4),)] == [need.came for need in told if need]
    harness.hear(b"a", Goodbye())
    last = harness.need()
    assert last
    assert ((), ((3, 4),)) == (last.missing, last.came), "of task 2 only a part has come"


def test_a_report_tells_what_came_last_although_its_reader_has_left() -> None:
    """A trainer that has all it wanted leaves at once; the next report after that has nothing to say."""
    harness = CoreHarness(make_plan(items=100, task_items=4, batch_size=4))
    harness.subscribe(b"a")
    harness.result(0)
    harness.hear(b"a", Goodbye())
    need = harness.need()
    assert need
    assert ((), ((0, 1),)) == (need.missing, need.came)
    assert None is harness.need()


def test_what_came_and_was_dropped_between_two_reports_is_missing_from_the_next_but_one() -> None:
    """Otherwise the ventilator would wait for a result to arrive that had arrived, before it leases the task again."""
    harness = CoreHarness(make_plan(items=100, task_items=4, batch_size=4))
    harness.subscribe(b"a", limit=0)
    assert 0 in harness.missing()
    harness.result(0)
    harness.hear(b"a", Goodbye())
    harness.subscribe(b"b")
    assert 0 not in harness.missing()
    assert harness.core.pressing()
    assert 0 in harness.missing()
