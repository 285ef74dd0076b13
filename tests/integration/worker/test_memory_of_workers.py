"""What a further worker costs in memory, where workers are forked from a process that has imported everything."""

from pathlib import Path

import pytest
from support.streams import epochs, make_images, make_spec, make_stream, run_stack, until

from penstock.launcher.spare import can_fork
from penstock.launcher.stack import LocalStack

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not can_fork(), reason="services are forked on Linux only"),
]
#: Most that a further worker may add (bytes), without the memory in which it hands samples over and that of files.
_MOST = 35_000_000


def own_bytes(stack: LocalStack) -> int:
    """Return the memory of all services: each page counts once, divided among those that share it.

    Not the pages of files: other tests' processes share them too, and end meanwhile.
    """
    pages = 0
    for child in stack.children.values():
        lines = Path(f"/proc/{child.process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
        kb = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
        pages += kb["Pss_Anon"]
    return pages * 1024


def test_a_further_worker_costs_little_memory(tmp_path: Path) -> None:
    """At most 35 MB, after it has decoded and resized photos: the code it runs is shared with the others."""
    photos = make_images(tmp_path / "photos", each=40, size=400)
    train = make_stream(patches=1, mix=1, batch_size=8)
    with run_stack(make_spec(photos, train=train), workers=2) as stack, stack.feed() as feed:
        epochs(feed, 2)
        before = own_bytes(stack)
        stack.scale(5)
        until(lambda: 5 == stack.status()["ventilator"].get("workers"), "five workers")
        epochs(feed, 6)
        assert (own_bytes(stack) - before) / 3 < _MOST
