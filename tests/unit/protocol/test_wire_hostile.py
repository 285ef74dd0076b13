"""The wire: nothing hostile gets through, and nothing hostile costs memory."""

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plans import make_plan, make_result, make_task

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Credit,
    Hello,
    TaskKey,
)
from penstock.protocol.plan import FieldSchema

ALL = wire.kinds(*AnyMessage.__args__)
REASONS = {"frames", "version", "kind", "unexpected", "header", "size"}


def shipped(frames: Sequence[wire.Buffer]) -> list[bytes]:
    """Return what the network carries: plain bytes."""
    return [bytes(frame) for frame in frames]


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


BATCH = b"penstock/4 Batch"


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
    decoded_or_rejected([f"penstock/4 {kind}".encode(), json.dumps(header).encode()])


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "frames"),
        ([b"penstock/4 Credit"], "frames"),
        ([b"penstock/4 Credit", *[b"{}"] * wire.MAX_FRAMES], "frames"),
        ([b"penstock/1 Credit", b"{}"], "version"),
        ([b"penstock/3 SinkHello", b"{}"], "version"),  # before sinks said where they are
        ([b"penstock/ Credit", b"{}"], "version"),
        ([b"penstock/4 Nonsense", b"{}"], "kind"),
        ([b"penstock/4 Credit" + b"x" * 10_000, b"{}"], "kind"),
        ([b"GET / HTTP/1.1", b""], "kind"),
        ([b"penstock/4 Credit", b""], "header"),
        ([b"penstock/4 Credit", b"{}"], "header"),
        ([b"penstock/4 Credit", b'{"consumed": 1, "limit": 2, "more": 3}'], "header"),
        ([b"penstock/4 Credit", b'{"consumed": -1, "limit": 2}'], "header"),
        ([b"penstock/4 Credit", b'{"consumed": "1", "limit": 2}'], "header"),
        ([b"penstock/4 Credit", b'{"consumed": 1.5, "limit": 2}'], "header"),
        ([b"penstock/4 Credit", b'{"consumed": 1e999, "limit": 2}'], "header"),
        ([b"penstock/4 Credit", b'{"consumed": %s, "limit": 2}' % (b"9" * 5000)], "header"),
        ([b"penstock/4 Credit", b"[" * 100_000], "header"),
        ([b"penstock/4 Credit", b'{"consumed": 1, "limit": 2}', b"frame"], "frames"),
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
    assert "this is 4" in str(error)
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
        wire.decode([b"penstock/4 Progress", header], ALL)
        assert tracemalloc.get_traced_memory()[1] < 40 * len(header)
    finally:
        tracemalloc.stop()
