"""A trainer that stops: nothing piles up anywhere, and the stream goes on when the trainer does."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.streams import digest, make_images, make_spec, make_stream, memory_mb, run_stack, take, until

from penstock.launcher.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.slow]

#: How long the trainer stands still (s).
PAUSE_S = 8.0
#: What a stack of this size may grow by beyond its window, for allocators and a batch in each hand (MB).
SLACK_MB = 30.0


def busy_s(stack: LocalStack) -> float:
    """Return the processor time that the stack's processes have used."""
    times = [psutil.Process(child.process.pid).cpu_times() for child in stack.children.values()]
    return sum(each.user + each.system for each in times)


def test_a_trainer_that_stops_stops_everything_within_the_window(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Memory stays flat within what the plan's window allows, no worker computes, and no byte is lost for it."""
    stream = make_stream(
        transform={"resize": {"height": 128, "width": 128}},
        patches=1,
        mix=4,
        task_items=8,
        batch_size=32,
        window_mb=20.0,
    )
    spec = make_spec(make_images(tmp_path / "photos", each=300, size=128), train=stream)
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed(prefetch=2)
        got = take(feed, 30)
        before = memory_mb(stack)
        window_mb = feed.plan.window() * feed.plan.sample_bytes / 1e6
        looks: list[list[object]] = []
        until(lambda: _still(stack, looks), "the pipeline to fill up and stand still")
        full, used = memory_mb(stack), busy_s(stack)
        samples = []
        deadline = time.monotonic() + PAUSE_S
        while time.monotonic() < deadline:
            samples.append(memory_mb(stack))
            time.sleep(0.5)  # what is measured is a trainer that does nothing
        assert max(samples) - full < 5.0
        assert full - before < window_mb + SLACK_MB
        assert busy_s(stack) - used < 0.2 * PAUSE_S
        began = time.monotonic()
        got += take(feed, 30)
        record_property("samples/s after the pause", 30 * 32 / (time.monotonic() - began))
        record_property("MB running, full, at most while paused", (before, full, max(samples)))
    with run_stack(spec, workers=3) as other:
        assert digest(got) == digest(take(other.feed(), len(got)))


def _still(stack: LocalStack, looks: list[list[object]]) -> bool:
    """Return whether there is no work left to do and the sink has taken in nothing over the last ten looks.

    Workers that hold nothing are not enough: a ventilator that gets no processor for a moment leaves them without work.
    """
    states = stack.status()
    work = states["ventilator"].get("streams", {}).get("train", {}).get("missing")
    held = [states[f"worker-{number}"].get("held") for number in range(2)]
    looks.append([states["sink"].get("results"), work, held])
    return len(looks) > 10 and [0, [0, 0]] == looks[-1][1:] and all(look == looks[-1] for look in looks[-10:])
