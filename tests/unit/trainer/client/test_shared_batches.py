"""Batches out of shared memory: copied, or shown where they lie if the program allows it."""

import os

import numpy as np
import numpy.typing as npt
import pytest
from support.plans import make_plan

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import Batch
from penstock.protocol.transport.segments import Loan, Segment, loan_of
from penstock.protocol.transport.shared_memory import Attachments, Pool, by_reference
from penstock.protocol.wire import Array, decode, encode, frames_of, kinds
from penstock.trainer.client.shared_batches import Borrowing

#: Samples of a task, of which each holds 4 bytes of an image: large enough to be shown where they lie.
_SAMPLES, _BATCH = 40_000, 25_000
PLAN = make_plan(items=_SAMPLES, patches=10, task_items=_SAMPLES // 10, batch_size=_BATCH)


def task(loan: Loan, first: int) -> list[Array]:
    """Return the fields of a task's samples, the first of them number `first`, in a worker's memory."""
    images = loan.room()[: 4 * _SAMPLES].reshape(_SAMPLES, 1, 4, 1)
    numbers = np.arange(first, first + _SAMPLES)
    images[:] = numbers.astype(np.int32).view(np.uint8).reshape(images.shape)
    return [images, *(numbers.astype(field.dtype) for field in PLAN.schema[1:])]


def three_batches(*, copies: bool) -> tuple[Borrowing, Batch, list[Array], list[Loan]]:
    """Return a trainer's side, and a message of three batches over two tasks: the second batch has some of both."""
    pool, sink = Pool(10**9), Attachments(releases=True)
    assert pool.take(5 * _SAMPLES, 0.0) is None
    sink.accept(pool.offers())
    loans = [loan for _ in range(2) if (loan := pool.take(5 * _SAMPLES, 0.0))]
    tasks = [task(loan, number * _SAMPLES) for number, loan in enumerate(loans)]
    tasks[1] = [array[: 3 * _BATCH - _SAMPLES] for array in tasks[1]]
    arrays = [tasks[number][index] for index in range(len(PLAN.schema)) for number in range(2)]
    frames = frames_of([field for field in PLAN.schema for _ in range(2)], arrays)
    message = Batch(sequence=0, start=0, stops=(25_000, 50_000, 75_000), sizes=(_BATCH,) * 3, frames=frames)
    shared, left = by_reference(message, arrays)
    borrowing = Borrowing(copies=copies)
    got, received = decode([bytes(frame) for frame in encode(shared, left)], kinds(Batch), borrowing.attachments)
    assert isinstance(got, Batch)
    return borrowing, got, received, loans


def numbers(batch: dict[str, Array]) -> npt.NDArray[np.int32]:
    """Return which samples a batch's images show."""
    return np.ascontiguousarray(batch["image"]).reshape(-1).view(np.int32)


@pytest.mark.parametrize("copies", [True, False])
def test_each_batch_gets_its_own_rows(*, copies: bool) -> None:
    """Also where a batch lies in two tasks; all fields agree."""
    borrowing, message, arrays, _ = three_batches(copies=copies)
    batches = borrowing.own(message, arrays, PLAN)
    assert 3 == len(batches)
    for place, batch in enumerate(batches):
        expected = np.arange(place * _BATCH, (place + 1) * _BATCH)
        assert np.array_equal(expected, numbers(batch))
        assert np.array_equal(expected, batch["item"])
        assert [field.name for field in PLAN.schema] == list(batch)


def test_images_are_shown_where_they_lie_unless_they_lie_in_two_places() -> None:
    """The first and the last batch are read-only and hold their segments; the middle one is the program's own."""
    borrowing, message, arrays, loans = three_batches(copies=False)
    first, middle, last = borrowing.own(message, arrays, PLAN)
    assert [False, True, False] == [batch["image"].flags.writeable for batch in (first, middle, last)]
    del arrays, middle
    assert not loans[0].segment.take()
    assert not loans[1].segment.take()
    assert loan_of(first["image"]) is not None
    del first
    assert loans[0].segment.take(), "nothing of the first task is shown any more"
    assert not loans[1].segment.take()
    assert 50_000 == numbers(last)[0]


def test_copied_batches_may_be_written_to_and_hold_nothing() -> None:
    """The default: memory of the program's own."""
    borrowing, message, arrays, loans = three_batches(copies=True)
    batches = borrowing.own(message, arrays, PLAN)
    assert all(array.flags.writeable for batch in batches for array in batch.values())
    assert all(loan.segment.take() for loan in loans)


@pytest.mark.parametrize("copies", [True, False])
def test_memory_that_was_written_again_is_refused(*, copies: bool) -> None:
    """The owner began its next task before this trainer came: the samples are not what the message says."""
    borrowing, message, arrays, loans = three_batches(copies=copies)
    assert loans[1].segment.take()
    with pytest.raises(RemoteProtocolError, match="given up by the sink") as refused:
        borrowing.own(message, arrays, PLAN)
    assert "stale" == refused.value.reason


def lent_batch(borrowing: Borrowing, number: int) -> dict[str, Array]:
    """Return a batch that is all of a task, in a segment of its own."""
    segment = Segment.create(5 * _SAMPLES)
    arrays = [array[:_BATCH] for array in task(Loan(segment, 0, releases=False), 0)]
    start = number * _BATCH
    frames = frames_of(PLAN.schema, arrays)
    message = Batch(sequence=number, start=start, stops=(start + _BATCH,), sizes=(_BATCH,), frames=frames)
    shared, left = by_reference(message, arrays)
    got, received = decode(
        [memoryview(bytearray(frame)) for frame in encode(shared, left)], kinds(Batch), borrowing.attachments
    )
    assert isinstance(got, Batch)
    [batch] = borrowing.own(got, received, PLAN)
    return batch


def test_a_program_that_keeps_all_batches_holds_some_of_them_only() -> None:
    """The others are copied: it would run out of file descriptors. When it lets go, its batches are shown again."""
    borrowing, before = Borrowing(copies=False), len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers
    kept = [lent_batch(borrowing, number) for number in range(200)]
    lent = [loan_of(batch["image"]) is not None for batch in kept]
    assert all(lent[:64])
    assert not any(lent[65:])
    assert len(os.listdir("/proc/self/fd")) - before < 400  # noqa: PTH208 - as above
    assert all(np.array_equal(np.arange(_BATCH), numbers(batch)) for batch in kept)
    kept.clear()
    assert loan_of(lent_batch(borrowing, 200)["image"]) is not None


@pytest.mark.parametrize("copies", [True, False])
def test_a_batch_without_samples_is_one(*, copies: bool) -> None:
    """A sink says so, and the trainer goes on: all fields have their types and no rows."""
    borrowing, message, arrays, _ = three_batches(copies=copies)
    sizes = (2 * _BATCH, 0, _BATCH)
    first, none, last = borrowing.own(message.model_copy(update={"sizes": sizes}), arrays, PLAN)
    assert sizes == tuple(len(batch["image"]) for batch in (first, none, last))
    assert [field.dtype for field in PLAN.schema] == [none[field.name].dtype.name for field in PLAN.schema]
