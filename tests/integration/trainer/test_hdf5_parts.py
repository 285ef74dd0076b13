"""A virtual data set whose parts vanish while it is streamed: their images are quarantined, never black."""

import signal
from pathlib import Path

import numpy as np
import pytest
from support.hdf5.virtual_files import pixels, write_parts
from support.streams import run_stack, until

from penstock.launcher.stack import LocalStack
from penstock.protocol.runtime.health import query

pytestmark = pytest.mark.integration

PARTS, ROWS = 60, 8
GONE = range(40, 55)


def disturb(stack: LocalStack, disturbance: str) -> None:
    """Kill the sink, or stop the ventilator until its worker has given it up."""
    if disturbance == "sink killed":
        stack.children["sink"].process.kill()
    else:
        ventilator = stack.children["ventilator"].process
        ventilator.send_signal(signal.SIGSTOP)
        try:
            health = str(stack.run_dir / "worker-0.health")  # alone: a stopped ventilator answers no question
            until(lambda: "waiting for the ventilator" in str(query(health).get("why")), "the loss")
        finally:
            ventilator.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("disturbance", ["sink killed", "ventilator lost"])
def test_images_of_parts_that_are_deleted_meanwhile_are_quarantined(disturbance: str, tmp_path: Path) -> None:
    """All others arrive with their own pixels, and the epoch's account is right.

    Also when the worker is welcomed again then: it goes on with the file that it has open, and could not open it again.
    """
    path = write_parts(tmp_path, PARTS, ROWS)
    expected = pixels(PARTS * ROWS)
    stream = {
        "source": {"kind": "hdf5", "root": "data", "path": path.name},
        "transform": {"resize": {"height": 8, "width": 6}},
        "batch_size": 8,
        "task_items": 8,
        "shuffle": False,
        "window_mb": 0.01,
        "failure_budget": 0.5,
    }
    got: list[int] = []
    with run_stack({"seed": 1, "roots": {"data": str(tmp_path)}, "streams": {"train": stream}}, workers=1) as stack:
        feed = stack.feed("train", prefetch=1)
        for batch in feed:
            if not got:
                for part in GONE:
                    (tmp_path / f"part{part:03}.h5").unlink()
                disturb(stack, disturbance)
            assert np.array_equal(expected[batch["item"]], batch["image"])
            got += batch["item"].tolist()
        [end] = feed.epochs
    lost = [row for part in GONE for row in range(part * ROWS, (part + 1) * ROWS)]
    assert sorted(set(range(PARTS * ROWS)) - set(lost)) == got
    before = (
        0 if disturbance != "sink killed" else PARTS * ROWS - end.expected
    )  # a new sink counts what it was asked for
    assert (PARTS * ROWS - before, len(got) - before, len(lost)) == (end.expected, end.delivered, end.quarantined)
