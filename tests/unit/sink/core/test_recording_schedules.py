"""Whatever dies when: each sample is written once and in order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cores.recording_harness import CoreHarness, Disk, check, chunk_tinily
from support.plans import SAMPLE_BYTES, make_plan

from penstock.protocol.messages import (
    Goodbye,
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_dies_when_each_sample_is_written_once_and_in_order(data: st.DataObject) -> None:
    """Results in any order, a disk of any speed, trainers that come and go, sinks killed between any two steps."""
    with pytest.MonkeyPatch.context() as patch:
        chunk_tinily(patch)
        plan = make_plan(
            items=data.draw(st.integers(3, 30)),
            patches=data.draw(st.integers(1, 3)),
            mix=data.draw(st.sampled_from([1, 2, 8])),
            window_samples=data.draw(st.sampled_from([1, 40])),
            batch_size=data.draw(st.sampled_from([1, 4, 7])),
        )
        failing = frozenset(data.draw(st.sets(st.integers(0, plan.items - 1), max_size=plan.items // 2)))
        options: dict[str, Any] = {
            "epochs": data.draw(st.integers(1, 3)),
            "piece_bytes": data.draw(st.sampled_from([1, 9 * SAMPLE_BYTES, 10**6])),
            "shard_size": data.draw(st.sampled_from([None, 1, 10])),
            "wait_for": data.draw(st.sampled_from([0, 1])),
        }
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        disk = Disk()
        for _ in range(data.draw(st.integers(0, 4))):
            _disturb(CoreHarness(plan, disk, **options), failing, rng)
        harness = CoreHarness(plan, disk, **options)
        harness.work()
        harness.subscribe(b"last", disk.stop)
        harness.finish(failing, rng)
        check(harness, options["epochs"], failing)


def _disturb(harness: CoreHarness, failing: frozenset[int], rng: np.random.Generator) -> None:
    """Do a number of random steps, and die."""
    for step in range(int(rng.integers(0, 60))):
        match int(rng.integers(0, 8)):
            case 0 | 1 | 2:
                if missing := harness.missing():
                    harness.result(int(rng.choice(missing)), failing)
            case 3 | 4:
                harness.work()
            case 5:
                harness.tick(float(rng.uniform(0, 8)))
                harness.answer()
            case 6:
                harness.subscribe(
                    f"t{step}".encode(), int(rng.integers(0, 2 * harness.plan.geometry.samples_per_epoch))
                )
            case _:
                for peer in list(harness.core.streams.readers):
                    if rng.random() < 0.2:
                        harness.take(harness.core.receive(peer, Goodbye(), (), harness.now))
                    else:
                        harness.consume(peer)
