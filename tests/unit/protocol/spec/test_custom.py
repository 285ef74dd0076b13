"""Entries of `[[transform.custom]]`: the schema and the fingerprint they mean, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError
from support.imaging.custom_schema import SCHEMA

from penstock.protocol.fingerprint import fingerprint
from penstock.protocol.plan import schema_before, schema_of
from penstock.protocol.spec.custom import Custom
from penstock.protocol.spec.spec import Spec, Stream


def make_stream(*customs: dict[str, Any]) -> Stream:
    """Return a stream with these transforms."""
    transform = {"resize": {"height": 4, "width": 6}, "custom": customs}
    return Stream.model_validate({"source": {"kind": "directory", "root": "photos"}, "transform": transform})


def test_every_process_knows_the_schema_from_the_spec_alone() -> None:
    """Fields in the order in which they came about, each as the last transform leaves it; nothing need be installed."""
    stream = make_stream(
        {"name": "nowhere", "produces": {"mask": {"dtype": "bool", "shape": [4, 6], "axes": "hw"}}},
        {"name": "else", "produces": {"image": {"dtype": "float16", "shape": [3, 2]}}},
        {"name": "more", "produces": {"mask": {"dtype": "float32", "shape": []}}},
    )
    expected = [
        ("image", "float16", (3, 2)),
        ("label", "int32", ()),
        ("item", "int64", ()),
        ("patch", "int32", ()),
        ("mask", "float32", ()),
    ]
    assert expected == [(field.name, field.dtype, field.shape) for field in schema_of(stream)]
    assert SCHEMA == schema_before(stream)


def test_the_schema_says_the_axes_and_channels_that_the_spec_says_and_no_others() -> None:
    """Those of an image that a transform replaced are gone; a later transform may know them again."""
    gone = {"name": "one", "produces": {"image": {"dtype": "uint8", "shape": [4, 6, 3]}}}
    known = {"dtype": "float32", "shape": [1, 4, 6], "axes": "chw", "channels": "gray"}
    again = {"name": "two", "produces": {"image": known}}
    for customs, expected in [((), ("hwc", "rgb")), ((gone,), ("", "")), ((gone, again), ("chw", "gray"))]:
        image = schema_of(make_stream(*customs))[0]
        assert expected == (image.axes, image.channels)


def test_what_axes_are_called_is_no_part_of_the_fingerprint() -> None:
    """No sample changes with it, so a run may be resumed after it is said, or said rightly."""
    made = {"dtype": "uint8", "shape": [4, 6, 1]}
    streams = [
        make_stream({"name": "one", "produces": {"image": made | called}})
        for called in ({}, {"axes": "hwc"}, {"axes": "hwc", "channels": "gray"})
    ]
    digests = [fingerprint(Spec(streams={"train": stream}), stream, "listing") for stream in streams]
    assert [digests[0]] * 3 == digests


def test_names_versions_parameters_and_their_order_are_part_of_the_fingerprint() -> None:
    """A run is never resumed with other transforms."""
    one, two = {"name": "one"}, {"name": "two"}
    streams = [
        make_stream(),
        make_stream(one),
        make_stream(two),
        make_stream(one, two),
        make_stream(two, one),
        make_stream({"name": "one", "version": "1.0"}),
        make_stream({"name": "one", "parameters": {"a": 1}}),
        make_stream({"name": "one", "parameters": {"a": [1, {"b": 2}]}}),
        make_stream({"name": "one", "produces": {"image": {"dtype": "uint8", "shape": [4, 6, 1]}}}),
    ]
    digests = [fingerprint(Spec(streams={"train": stream}), stream, "listing") for stream in streams]
    assert len(streams) == len(set(digests))


@pytest.mark.parametrize(
    ("custom", "words"),
    [
        ({"parameters": {"a b": 1}}, "parameter 'a b'"),
        ({"parameters": {"class": 1}}, "parameter 'class'"),
        ({"parameters": {"limits": [1, {"high": float("inf")}]}}, "numbers must be finite"),
        ({"produces": {"item": {"dtype": "int64", "shape": []}}}, "'item' says which sample it is"),
        ({"produces": {"image": {"dtype": "object", "shape": []}}}, "dtype"),
        ({"produces": {"image": {"dtype": "uint8", "shape": [0]}}}, "greater than or equal to 1"),
        ({"produces": {"image": {"dtype": "uint8", "shape": [4, 6], "axes": "hwc"}}}, "axes = 'hwc' names 3 axes, but"),
        ({"produces": {"image": {"dtype": "uint8", "shape": [4, 6], "axes": "wh"}}}, "'hwc', 'chw' or 'hw'"),
        ({"produces": {"image": {"dtype": "uint8", "shape": [4, 6], "channels": "gray"}}}, "'gray' needs axes"),
        (
            {"produces": {"image": {"dtype": "uint8", "shape": [4, 6, 3], "axes": "chw", "channels": "rgb"}}},
            r"channels = 'rgb' means 3 channel\(s\), but .* has 4",
        ),
        (
            {"produces": {"image": {"dtype": "uint8", "shape": [4, 6], "axes": "hw", "channels": "rgb"}}},
            r"channels = 'rgb' means 3 channel\(s\), but .* has 1",
        ),
        ({"path": "code.py"}, "path"),
    ],
)
def test_a_wrong_entry_of_the_spec_is_refused(custom: dict[str, Any], words: str) -> None:
    """Names, numbers and fields are checked before the code is looked for."""
    with pytest.raises(ValidationError, match=words):
        Custom.model_validate({"name": "invert", **custom})
