"""A stream in one process: what workers are compared with gives the very batches that they give."""

from pathlib import Path

import pytest
from support.streams import digest, make_images, make_spec, make_stream, run_stack

from penstock.launcher.inline import InlineFeed
from penstock.protocol.spec.spec import parse_spec

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "changes", [{"patches": 1, "mix": 1, "batch_size": 7}, {"mix": 2, "drop_remainder": True, "batch_size": 32}]
)
def test_the_batches_are_those_of_a_stack(tmp_path: Path, changes: dict[str, int]) -> None:
    """Two epochs, bit for bit, with a damaged file among them."""
    root = make_images(tmp_path / "photos", each=11)
    (root / "cat" / "0003.jpg").write_bytes(b"not an image")
    spec = make_spec(root, train=make_stream(failure_budget=0.5, **changes))
    inline = InlineFeed(parse_spec(spec), {})
    here = [list(inline.epoch(number)) for number in range(2)]
    with run_stack(spec, 2, run_dir=tmp_path / "run") as stack, stack.feed() as feed:
        there = [list(feed) for _ in range(2)]
    assert [len(epoch) for epoch in there] == [len(epoch) for epoch in here]
    assert [digest(epoch) for epoch in there] == [digest(epoch) for epoch in here]
    assert 2 == inline.quarantined
