"""Pools of shared memory, and messages that refer to it."""

import numpy as np

from penstock.protocol import wire
from penstock.protocol.messages import Result, TaskKey
from penstock.protocol.plan import FieldSchema
from penstock.protocol.transport.segments import Loan
from penstock.protocol.transport.shared_memory import Attachments, Pool, by_reference

SIZE = 100_000
MUCH = 10**9


def filled_pool(sink: Attachments, limit: int = MUCH) -> Pool:
    """Return a pool whose first segments the sink has seen."""
    pool = Pool(limit)
    assert pool.take(SIZE, 0.0) is None
    sink.accept(pool.offers())
    return pool


def take(pool: Pool) -> Loan:
    """Return room that there must be."""
    loan = pool.take(SIZE, 0.0)
    assert loan is not None
    return loan


def make_message(loan: Loan, value: int = 7) -> tuple[Result, list[wire.Array]]:
    """Return a result whose first array lies in the loan; the second is too small to be shared."""
    room = loan.room()[:SIZE]
    room[:] = value
    arrays: list[wire.Array] = [room.reshape(10, -1), np.arange(10, dtype=np.int32)]
    frames = (
        FieldSchema(name="image", dtype="uint8", shape=(10, SIZE // 10)),
        FieldSchema(name="label", dtype="int32", shape=(10,)),
    )
    key = TaskKey(stream="train", ordinal=3)
    return Result(key=key, plan="p", worker="w", frames=frames), arrays


def over_the_wire(message: Result, arrays: list[wire.Array], memory: Attachments | None) -> list[wire.Array]:
    """Return the arrays as a peer gets them."""
    shared, left = by_reference(message, arrays)
    frames = [bytes(frame) for frame in wire.encode(shared, left)]
    return wire.decode(frames, wire.kinds(Result), memory)[1]
