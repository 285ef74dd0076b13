"""Records: what they refuse when they are decoded, how pydantic models hold them, and how they are shown."""

import json

import pytest
from hypothesis import given
from support.drawn import some_key

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import Failure, Finished, Goodbye, Outcomes, Result, StreamNeed, TaskKey, Timings

_FINISHED = b"penstock/%d Finished" % wire.PROTOCOL_VERSION
_KEY = {"stream": "train", "ordinal": 3}


@pytest.mark.parametrize(
    ("done", "words"),
    [
        ({"key": _KEY | {"ordinal": -1}, "timings": {}}, "ordinal"),
        ({"key": _KEY | {"ordinal": 2**62}, "timings": {}}, "ordinal"),
        ({"key": _KEY | {"ordinal": 3.0}, "timings": {}}, "ordinal"),
        ({"key": _KEY | {"ordinal": True}, "timings": {}}, "ordinal"),
        ({"key": _KEY | {"ordinal": "3"}, "timings": {}}, "ordinal"),
        ({"key": _KEY | {"stream": "x" * 4097}, "timings": {}}, "stream"),
        ({"key": _KEY | {"offsets": [1] * 4097}, "timings": {}}, "offsets"),
        ({"key": _KEY | {"more": 1}, "timings": {}}, "more"),
        ({"key": _KEY, "timings": {"read_s": -1.0}}, "read_s"),
        ({"key": _KEY, "timings": {"read_s": 1e13}}, "read_s"),
        ({"key": _KEY}, "timings"),
        ([_KEY, {}], "done"),
    ],
)
def test_what_a_record_does_not_allow_is_refused_by_its_name(done: object, words: str) -> None:
    """As strictly as a model: no other types, nothing beyond the limits, nothing missing, nothing unknown."""
    with pytest.raises(RemoteProtocolError, match=f"^header: Finished: .*{words}"):
        wire.decode([_FINISHED, json.dumps({"done": [done]}).encode()], wire.kinds(Finished))


@pytest.mark.parametrize(
    "header",
    [
        b'{"done": [{"key": {"stream": "\xff", "ordinal": 1}, "timings": {}}]}',
        b'{"done": [{"key": {"stream": "\\ud800", "ordinal": 1}, "timings": {}}]}',
        b'{"done": NaN}',
        b'{"done": []} {}',
        b'{"done": ' + b"[" * 100_000,
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "done": []}',
    ],
)
def test_what_is_no_json_of_text_is_refused(header: bytes) -> None:
    """Bytes that are no UTF-8, half a surrogate pair, depth without end."""
    with pytest.raises(RemoteProtocolError, match=r"^header: Finished"):
        wire.decode([_FINISHED, header], wire.kinds(Finished))


@given(some_key)
def test_a_model_holds_records_and_checks_them_as_strictly(key: TaskKey) -> None:
    """From JSON, and into JSON with and without defaults; a wrong one is named by its place."""
    goodbye = Goodbye(unstarted=(key,))
    assert goodbye == Goodbye.model_validate_json(goodbye.model_dump_json())
    assert goodbye == Goodbye.model_validate_json(goodbye.model_dump_json(exclude_defaults=True))
    wrong = b'{"unstarted": [{"stream": "train", "ordinal": -1}]}'
    with pytest.raises(RemoteProtocolError, match=r"^header: Goodbye.unstarted.0: .*ordinal"):
        wire.decode([b"penstock/%d Goodbye" % wire.PROTOCOL_VERSION, wrong], wire.kinds(Goodbye))


def test_reasons_that_are_too_long_are_cut_and_no_error() -> None:
    """Explanations quote what peers sent, wherever they stand."""
    long = "x" * 5000
    assert 4096 == len(Failure(offset=0, item=0, path="a", reason=long).reason)
    assert 4096 == len(StreamNeed(stream="train", missing=(), stopped=long).stopped)
    told = {"stream": "train", "heard": 1, "settled": [], "stopped": long}
    kind = b"penstock/%d Outcomes" % wire.PROTOCOL_VERSION
    message, _ = wire.decode([kind, json.dumps(told).encode()], wire.kinds(Outcomes))
    assert isinstance(message, Outcomes)
    assert 4096 == len(message.stopped)


def test_a_lease_is_left_out_of_a_result_that_has_none() -> None:
    """A model leaves out records that are its defaults, and reads a header without them."""
    result = Result(key=TaskKey(stream="train", ordinal=3), plan="p", worker="w", frames=())
    header = bytes(wire.encode(result)[1])
    assert {"key", "plan", "worker", "frames"} == set(json.loads(header))
    assert result == wire.decode([bytes(each) for each in wire.encode(result)], wire.kinds(Result))[0]


def test_all_fields_of_a_record_are_shown() -> None:
    """For logs and JSON that people read, defaults included."""
    told = {"read_s": 0.0, "decode_s": 1.5, "transform_s": 0.0, "send_s": 0.0, "parts_s": 0.0}
    assert told == Timings(decode_s=1.5).to_dict()
    assert {"stream": "a", "ordinal": 1, "item_offset": None, "offsets": ()} == TaskKey("a", 1).to_dict()
