"""A virtual data set whose parts vanish while it is streamed: their images are quarantined, never black."""

from pathlib import Path

import numpy as np
import pytest
from support.hdf5.virtual_files import pixels, write_parts
from support.streams import run_stack

pytestmark = pytest.mark.integration

PARTS, ROWS = 60, 8
GONE = range(40, 55)


@pytest.mark.parametrize("restarted", [(), ("sink",)])
def test_images_of_parts_that_are_deleted_meanwhile_are_quarantined(restarted: tuple[str, ...], tmp_path: Path) -> None:
    """All others arrive with their own pixels, and the epoch's account is right.

    Also when the sink is killed then: the worker is told of the new one and goes on with the file that it has open.
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
                for service in restarted:
                    stack.children[service].process.kill()
            assert np.array_equal(expected[batch["item"]], batch["image"])
            got += batch["item"].tolist()
        [end] = feed.epochs
    lost = [row for part in GONE for row in range(part * ROWS, (part + 1) * ROWS)]
    assert sorted(set(range(PARTS * ROWS)) - set(lost)) == got
    before = 0 if not restarted else PARTS * ROWS - end.expected  # a new sink counts what it was asked for
    assert (PARTS * ROWS - before, len(got) - before, len(lost)) == (end.expected, end.delivered, end.quarantined)
