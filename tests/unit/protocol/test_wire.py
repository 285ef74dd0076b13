"""The wire: everything survives the round trip; nothing hostile survives at all, nor costs memory."""

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.drawn import drawn
from support.plans import make_plan, make_result, make_task

from penstock.protocol import wire
from penstock.protocol.errors import LocalProtocolError, RemoteProtocolError
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Credit,
    Done,
    Drain,
    EpochEnd,
    Failure,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    ListPaths,
    Paths,
    Progress,
    Quarantined,
    Refused,
    Reset,
    Result,
    SampleReply,
    SampleRequest,
    SinkHello,
    SinkStats,
    SinkWelcome,
    Snapshot,
    StatusRequest,
    StreamNeed,
    Subscribe,
    TaskKey,
    Tasks,
    Timings,
    TrainerWelcome,
    WorkerStats,
    WorkerWelcome,
)
from penstock.protocol.plan import FieldSchema
from penstock.protocol.stats import FeedWaits
from penstock.protocol.wire import Array

ALL = wire.kinds(*AnyMessage.__args__)
REASONS = {"frames", "version", "kind", "unexpected", "header", "size"}

_texts = st.text(max_size=20)
_counts = st.integers(0, 2**62 - 1)
_seconds = st.floats(0, 1e6)
_keys = st.builds(TaskKey, stream=_texts, ordinal=_counts, item_offset=st.none() | _counts)
_failures = st.builds(
    Failure, offset=_counts, item=_counts, path=_texts, reason=_texts, attempts=_counts, worker=_texts
)
_plans = st.builds(
    make_plan,
    seed=st.integers(0, 2**63 - 1),
    items=st.integers(1, 10**9),
    patches=st.integers(1, 3),
    mix=st.integers(1, 4),
    batch_size=st.integers(1, 64),
    drop_remainder=st.booleans(),
    fingerprint=_texts,
)
_tasks = st.builds(
    make_task, st.just(make_plan()), st.builds(TaskKey, stream=st.just("train"), ordinal=st.integers(0, 50))
)
_timings = st.builds(Timings, read_s=_seconds, decode_s=_seconds, transform_s=_seconds, send_s=_seconds)
_intervals = st.builds(Intervals, heartbeat_s=st.floats(0.01, 10), silence_s=st.floats(0.1, 100))
_ranges = st.lists(st.tuples(_counts, _counts), max_size=4).map(tuple)
_needs = st.builds(
    StreamNeed,
    stream=_texts,
    missing=_ranges,
    partial=st.lists(st.tuples(_counts, st.lists(_counts, max_size=3).map(tuple)), max_size=3).map(tuple),
    stopped=_texts,
)


def some(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return tuples of a few."""
    return st.lists(of, max_size=3).map(tuple)


#: How to draw each kind of message that carries no arrays.
_PLAIN: dict[type[AnyMessage], st.SearchStrategy[Any]] = {
    Hello: st.builds(
        Hello, worker=_texts, incarnation=_texts, host=_texts, slots=st.integers(1, 10_000), version=_texts
    ),
    Finished: st.builds(Finished, done=some(st.builds(Done, key=_keys, timings=_timings))),
    Heartbeat: st.builds(
        Heartbeat,
        running=st.none() | some(_keys),
        sink=_texts,
        position=st.none() | _counts,
        worker_stats=st.none() | drawn(WorkerStats),
        sink_stats=st.none() | drawn(SinkStats),
        ledger=_counts,
    ),
    Goodbye: st.builds(Goodbye, unstarted=some(_keys)),
    WorkerWelcome: st.builds(
        WorkerWelcome, streams=some(_plans), roots=st.dictionaries(_texts, _texts), sink=_texts, intervals=_intervals
    ),
    Tasks: st.builds(Tasks, tasks=some(_tasks)),
    Drain: st.builds(Drain, reason=_texts),
    Reset: st.just(Reset()),
    SinkHello: st.builds(SinkHello, incarnation=_texts, results=_texts, version=_texts),
    Progress: st.builds(Progress, sequence=_counts, needs=some(_needs)),
    SinkWelcome: st.builds(SinkWelcome, streams=some(_plans), intervals=_intervals),
    Quarantined: st.builds(Quarantined, key=_keys, failure=_failures),
    ListPaths: st.builds(ListPaths, stream=_texts, start=_counts),
    Paths: st.builds(Paths, stream=_texts, start=_counts, total=_counts, paths=some(_texts)),
    Subscribe: st.builds(
        Subscribe,
        stream=_texts,
        rank=_counts,
        world_size=st.integers(1, 65_536),
        position=_counts,
        fingerprint=_texts,
        limit=_counts,
        version=_texts,
    ),
    Credit: st.builds(Credit, consumed=_counts, limit=_counts, feed=st.none() | drawn(FeedWaits)),
    TrainerWelcome: st.builds(TrainerWelcome, plan=_plans, position=_counts, intervals=_intervals),
    EpochEnd: st.builds(
        EpochEnd,
        epoch=_counts,
        sequence=_counts,
        stop=_counts,
        expected=_counts,
        delivered=_counts,
        quarantined=_counts,
        dropped=_counts,
    ),
    SampleRequest: st.builds(
        SampleRequest, stream=_texts, position=_counts, count=st.integers(1, 1000), version=_texts
    ),
    Refused: st.builds(
        Refused,
        kind=st.sampled_from(["fingerprint", "stream", "position", "limit", "budget", "transform"]),
        reason=_texts,
    ),
    StatusRequest: drawn(StatusRequest),
    Snapshot: drawn(Snapshot),
}
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
    assert set(ALL) == {*_PLAIN, Result, Batch, SampleReply}


@given(st.sampled_from(sorted(_PLAIN, key=lambda kind: kind.__name__)).flatmap(lambda kind: _PLAIN[kind]))
def test_every_message_survives_the_round_trip(message: AnyMessage) -> None:
    """decode(encode(message)) is the message."""
    again, arrays = wire.decode(shipped(wire.encode(message)), ALL)
    assert message == again
    assert [] == arrays


@given(_arrays(), some(_failures), _keys)
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


def rejected(frames: Sequence[wire.Buffer], accept: frozenset[type[AnyMessage]] = ALL) -> RemoteProtocolError:
    """Return the error that decoding raises."""
    with pytest.raises(RemoteProtocolError) as caught:
        wire.decode(frames, accept)
    assert caught.value.reason in REASONS
    return caught.value


def decoded_or_rejected(frames: Sequence[wire.Buffer]) -> None:
    """Check that decoding raises nothing but a RemoteProtocolError with a known reason, if anything."""
    reason = "header"
    try:
        wire.decode(frames, ALL)
    except RemoteProtocolError as error:
        reason = error.reason
    assert reason in REASONS


def with_frames(*frames: dict[str, Any]) -> bytes:
    """Return the header of a batch with these array frames."""
    return json.dumps({"sequence": 0, "start": 0, "stops": [1], "sizes": [1], "frames": frames}).encode()


BATCH = b"penstock/2 Batch"


@given(st.lists(st.binary(max_size=100), max_size=6))
def test_random_bytes_are_rejected_with_a_known_reason(frames: list[bytes]) -> None:
    """No sequence of random frames is a message, and none raises anything else."""
    rejected(frames)


@settings(max_examples=300)
@given(st.data())
def test_damaged_messages_never_raise_anything_else(data: st.DataObject) -> None:
    """A real message with a frame cut, dropped, doubled, swapped or with bytes overwritten is decoded or rejected."""
    plan = make_plan()
    result, arrays = make_result(plan, make_task(plan, TaskKey(stream="train", ordinal=1)))
    frames = shipped(wire.encode(result, arrays))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(frames) - 1))
        match data.draw(st.sampled_from(["cut", "drop", "double", "overwrite", "swap"])):
            case "cut":
                frames[at] = frames[at][: data.draw(st.integers(0, len(frames[at])))]
            case "drop" if len(frames) > 1:
                del frames[at]
            case "double":
                frames.insert(at, frames[at])
            case "swap":
                frames[0], frames[at] = frames[at], frames[0]
            case _:
                if not frames[at]:
                    continue
                place = data.draw(st.integers(0, len(frames[at]) - 1))
                junk = data.draw(st.binary(min_size=1, max_size=4))
                frames[at] = frames[at][:place] + junk + frames[at][place + len(junk) :]
    decoded_or_rejected(frames)


_jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(sorted(kind.__name__ for kind in ALL)), _jsons)
def test_any_json_as_a_header_is_accepted_or_rejected(kind: str, header: Any) -> None:
    """No JSON value in a header raises anything but RemoteProtocolError, for any kind."""
    decoded_or_rejected([f"penstock/2 {kind}".encode(), json.dumps(header).encode()])


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "frames"),
        ([b"penstock/2 Credit"], "frames"),
        ([b"penstock/2 Credit", *[b"{}"] * wire.MAX_FRAMES], "frames"),
        ([b"penstock/1 Credit", b"{}"], "version"),
        ([b"penstock/ Credit", b"{}"], "version"),
        ([b"penstock/2 Nonsense", b"{}"], "kind"),
        ([b"penstock/2 Credit" + b"x" * 10_000, b"{}"], "kind"),
        ([b"GET / HTTP/1.1", b""], "kind"),
        ([b"penstock/2 Credit", b""], "header"),
        ([b"penstock/2 Credit", b"{}"], "header"),
        ([b"penstock/2 Credit", b'{"consumed": 1, "limit": 2, "more": 3}'], "header"),
        ([b"penstock/2 Credit", b'{"consumed": -1, "limit": 2}'], "header"),
        ([b"penstock/2 Credit", b'{"consumed": "1", "limit": 2}'], "header"),
        ([b"penstock/2 Credit", b'{"consumed": 1.5, "limit": 2}'], "header"),
        ([b"penstock/2 Credit", b'{"consumed": 1e999, "limit": 2}'], "header"),
        ([b"penstock/2 Credit", b'{"consumed": %s, "limit": 2}' % (b"9" * 5000)], "header"),
        ([b"penstock/2 Credit", b"[" * 100_000], "header"),
        ([b"penstock/2 Credit", b'{"consumed": 1, "limit": 2}', b"frame"], "frames"),
        ([BATCH, with_frames({"name": "image", "dtype": "uint8", "shape": [3]})], "frames"),
        ([BATCH, with_frames({"name": "image", "dtype": "uint8", "shape": [3]}), b"four"], "size"),
        ([BATCH, with_frames({"name": "image", "dtype": "uint8", "shape": [-2, -2]}), b"four"], "size"),
        ([BATCH, with_frames({"name": "image", "dtype": "uint8", "shape": [2**31]}), b"four"], "size"),
        ([BATCH, with_frames({"name": "image", "dtype": "uint8", "shape": [2**63, 2**63, 0]}), b""], "size"),
        ([BATCH, with_frames({"name": "image", "dtype": "uint8", "shape": [0, 2**40, 2**40]}), b""], "size"),
        ([BATCH, with_frames({"name": "image", "dtype": "uint8", "shape": [2**64 + 4]}), b"four"], "size"),
        ([BATCH, with_frames({"name": "image", "dtype": "float64", "shape": [4]}), b"four"], "size"),
        ([BATCH, with_frames({"name": "image", "dtype": "object", "shape": [1]}), b"eight888"], "header"),
        ([BATCH, with_frames({"name": "image", "dtype": "O", "shape": [1]}), b"eight888"], "header"),
        ([BATCH, with_frames({"name": "image", "dtype": "uint8", "shape": [1] * 9}), b"1"], "header"),
        ([BATCH, with_frames({"name": "image", "dtype": "uint8", "shape": ["4"]}), b"four"], "header"),
        ([BATCH, with_frames({"name": "../x", "dtype": "uint8", "shape": [4]}), b"four"], "header"),
    ],
)
def test_hostile_messages_are_rejected_for_the_right_reason(frames: list[bytes], reason: str) -> None:
    """Each way of lying has its name for the counters."""
    assert reason == rejected(frames).reason


def test_a_message_that_does_not_belong_on_a_socket_is_rejected() -> None:
    """What a socket accepts is part of decoding."""
    frames = wire.encode(Credit(consumed=0, limit=1))
    assert "unexpected" == rejected(frames, wire.kinds(Hello)).reason


def test_another_protocol_version_is_told_in_words() -> None:
    """The reader learns both versions and what to do."""
    error = rejected([b"penstock/99 Hello", b"{}"])
    assert "'99'" in str(error)
    assert "this is 2" in str(error)
    assert "same release" in str(error)


@pytest.mark.parametrize(
    "claim", [{"dtype": "uint8", "shape": [2_000_000_000]}, {"dtype": "float64", "shape": [16_000, 16_000]}]
)
def test_a_claim_of_gigabytes_allocates_nothing(claim: dict[str, Any]) -> None:
    """Sizes are checked against the frames before any array is made."""
    frames = [BATCH, with_frames({"name": "image", **claim}), b"tiny"]
    tracemalloc.start()
    try:
        rejected(frames)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_decoding_allocates_no_more_than_the_frames_size() -> None:
    """A batch of 8 MB is decoded within a fraction of that: its arrays are views."""
    array = np.zeros((8, 1000, 1000), np.uint8)
    frame = FieldSchema(name="image", dtype="uint8", shape=array.shape)
    frames = shipped(wire.encode(Batch(sequence=0, start=0, stops=(8,), sizes=(8,), frames=(frame,)), [array]))
    tracemalloc.start()
    try:
        wire.decode(frames, ALL)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_a_header_costs_a_bounded_multiple_of_its_size() -> None:
    """Parsing 1 MB of ranges stays within some tens of MB: no header blows up."""
    pairs = [[2 * n, 2 * n + 1] for n in range(60_000)]
    header = json.dumps({"sequence": 1, "needs": [{"stream": "s", "missing": pairs}]}).encode()
    tracemalloc.start()
    try:
        wire.decode([b"penstock/2 Progress", header], ALL)
        assert tracemalloc.get_traced_memory()[1] < 40 * len(header)
    finally:
        tracemalloc.stop()
