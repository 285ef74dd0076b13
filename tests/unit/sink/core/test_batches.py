"""What a batch's message holds."""

import pytest
from support.cores.assembly_harness import CoreHarness, joined
from support.plans import (
    SAMPLE_BYTES,
    ExpectedBatch,
    expected,
    make_plan,
    make_result,
    make_samples,
    make_task,
)

from penstock.protocol.instructions import Send
from penstock.protocol.messages import (
    Batch,
    Credit,
    TaskKey,
)


def test_every_field_of_a_batch_is_the_samples_own() -> None:
    """Short and long rows, runs and gathered rows: image, label, item and patch stay together."""
    plan = make_plan(items=12, patches=3, mix=4, task_items=2, batch_size=7)
    core = CoreHarness(plan)
    sent: list[Send] = []
    core.subscribe()
    for ordinal in range(plan.geometry.tasks_per_epoch):
        task = make_task(plan, TaskKey(stream="train", ordinal=ordinal))
        sent += [
            each
            for each in core.core.receive(b"", *make_result(plan, task), 0.0)
            if isinstance(each, Send) and isinstance(each.message, Batch)
        ]
    wanted = (each for each in expected(plan, frozenset()) if isinstance(each, ExpectedBatch))
    got = 0
    for send in sent:
        assert isinstance(send.message, Batch)
        for part, want in zip(send.message.parts(), wanted, strict=False):
            items, patches = [s.item for s in want.samples], [s.patch for s in want.samples]
            truth = make_samples(plan, want.epoch, items, patches)
            fields = [array[part.rows] for array in joined(send.message, send.arrays)]
            assert [array.tobytes() for array in truth] == [field.tobytes() for field in fields]
            got += 1
    assert 6 == got


def test_small_batches_share_a_message_as_far_as_credit_and_window_allow() -> None:
    """What is complete is sent at once: with credit for three of five batches, three go out together, cut alike."""
    plan = make_plan(items=20, task_items=20, batch_size=4, window_samples=100)
    core = CoreHarness(plan)
    core.subscribe(limit=3)
    task = make_task(plan, TaskKey(stream="train", ordinal=0))
    [first] = [each for each in core.core.receive(b"", *make_result(plan, task), 0.0) if isinstance(each, Send)]
    assert isinstance(first.message, Batch)
    assert (0, (4, 8, 12), (4, 4, 4)) == (first.message.sequence, first.message.stops, first.message.sizes)
    [second, *_] = core.core.receive(b"t", Credit(consumed=3, limit=8), (), 0.0)
    assert isinstance(second, Send)
    assert isinstance(second.message, Batch)
    assert (3, 12, (16, 20)) == (second.message.sequence, second.message.start, second.message.stops)
    lengths = [len(array) for array in joined(second.message, second.arrays)]
    assert [8, 8, 8, 8] == lengths


def test_large_batches_have_a_message_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message stays near a size: what is sent can be thrown away by a trainer that goes."""
    plan = make_plan(items=20, task_items=20, batch_size=4, window_samples=100)
    monkeypatch.setattr("penstock.sink.core.reader._MESSAGE_BYTES", 2 * 4 * SAMPLE_BYTES - 1)
    core = CoreHarness(plan)
    core.subscribe()
    sent = core.core.receive(b"", *make_result(plan, make_task(plan, TaskKey(stream="train", ordinal=0))), 0.0)
    batches = [each.message for each in sent if isinstance(each, Send) and isinstance(each.message, Batch)]
    assert [1] * 5 == [len(batch.stops) for batch in batches]
