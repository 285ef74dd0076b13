"""The wire: everything survives the round trip; nothing hostile survives at all, nor costs memory."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.drawn import PLAIN, some, some_failure, some_key
from support.plans import make_plan

from penstock.protocol import wire
from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Failure,
    Result,
    SampleReply,
    TaskKey,
)
from penstock.protocol.plan import FieldSchema
from penstock.protocol.wire import Array

ALL = wire.kinds(*AnyMessage.__args__)
REASONS = {"frames", "version", "kind", "unexpected", "header", "size"}

_DTYPES = ["bool", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64"]


@st.composite
def _arrays(draw: st.DrawFn) -> list[tuple[FieldSchema, Array]]:
    pairs = []
    for index in range(draw(st.integers(0, 4))):
        shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
        dtype = draw(st.sampled_from(_DTYPES))
        rng = np.random.default_rng(draw(st.integers(0, 100)))
        array = rng.integers(0, 2, shape).astype(dtype)
        pairs.append((FieldSchema(name=f"f{index}", dtype=dtype, shape=shape), array))
    return pairs


def shipped(frames: Sequence[wire.Buffer]) -> list[bytes]:
    """Return what the network carries: plain bytes."""
    return [bytes(frame) for frame in frames]


def test_every_kind_of_message_has_a_round_trip_here() -> None:
    """A new message cannot be forgotten."""
    assert set(ALL) == {*PLAIN, Result, Batch, SampleReply}


@given(st.sampled_from(sorted(PLAIN, key=lambda kind: kind.__name__)).flatmap(lambda kind: PLAIN[kind]))
def test_every_message_survives_the_round_trip(message: AnyMessage) -> None:
    """decode(encode(message)) is the message."""
    again, arrays = wire.decode(shipped(wire.encode(message)), ALL)
    assert message == again
    assert [] == arrays


@given(_arrays(), some(some_failure), some_key)
def test_results_and_batches_survive_the_round_trip(
    pairs: list[tuple[FieldSchema, Array]], failures: tuple[Failure, ...], key: TaskKey
) -> None:
    """Arrays come back with dtype, shape and bytes, empty ones and scalars included, and cannot be written to."""
    frames, arrays = tuple(frame for frame, _ in pairs), [array for _, array in pairs]
    for message in (
        Result(key=key, plan="p", worker="w", failures=failures, frames=frames),
        Batch(sequence=3, start=4, stops=(5,), sizes=(5,), frames=frames),
        SampleReply(plan=make_plan(), readers=1, positions=(2, 3), frames=frames),
    ):
        again, received = wire.decode(shipped(wire.encode(message, arrays)), ALL)
        assert message == again
        for array, other in zip(arrays, received, strict=True):
            assert (array.dtype, array.shape, array.tobytes()) == (other.dtype, other.shape, other.tobytes())
            assert not other.flags.writeable


def test_frames_leave_out_what_an_images_axes_are_called() -> None:
    """Both sides know it from the plan; headers are no longer for it, and entries of equal arrays stay equal."""
    array = np.zeros((2, 4, 8, 3), np.uint8)
    called = FieldSchema(name="image", dtype="uint8", shape=(4, 8, 3), axes="hwc", channels="rgb")
    frames = wire.frames_of([called], [array])
    assert (FieldSchema(name="image", dtype="uint8", shape=(2, 4, 8, 3)),) == frames
    header = bytes(wire.encode(Batch(sequence=0, start=0, stops=(2,), sizes=(2,), frames=frames), [array])[1])
    assert {"name", "dtype", "shape"} == set(json.loads(header)["frames"][0])


def test_arrays_are_neither_copied_by_the_sender_nor_by_the_receiver() -> None:
    """Pixels stay where they are: encode and decode return views."""
    array = np.zeros((4, 8), np.uint8)
    frame = FieldSchema(name="image", dtype="uint8", shape=(4, 8))
    frames = wire.encode(Batch(sequence=0, start=0, stops=(4,), sizes=(4,), frames=(frame,)), [array])
    assert np.shares_memory(array, np.frombuffer(frames[2], np.uint8))
    _, [received] = wire.decode(frames, ALL)
    assert np.shares_memory(array, received)


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (np.zeros((2, 3), np.uint8), (3, 2)),
        (np.zeros((2, 3), np.int8), (2, 3)),
        (np.zeros((3, 2), np.uint8).T, (2, 3)),
    ],
)
def test_arrays_that_are_not_what_the_message_says_are_our_own_bug(array: Array, shape: tuple[int, ...]) -> None:
    """A wrong shape, dtype or memory layout raises LocalProtocolError before anything is sent."""
    frame = FieldSchema(name="image", dtype="uint8", shape=shape)
    with pytest.raises(LocalProtocolError, match="image"):
        wire.encode(Batch(sequence=0, start=0, stops=(4,), sizes=(4,), frames=(frame,)), [array])
    with pytest.raises(LocalProtocolError, match="1 frames"):
        wire.encode(Batch(sequence=0, start=0, stops=(4,), sizes=(4,), frames=(frame,)), [])
