"""Weighted sampling through a whole stack: the same bytes at any number of workers and across a resumption."""

from collections import Counter
from pathlib import Path

import pytest
from support.streams import Batch, digest, make_images, make_spec, make_stream, run_stack, take

pytestmark = pytest.mark.integration

#: Classes of 4 and 12 images, the first of them three times as often: 24 + 8 items of two patches, 64 samples an epoch.
SAMPLED = make_stream(
    sampling={"by": "class", "weights": {"cat": 3}, "repeat": 2}, patches=2, mix=4, batch_size=10, task_items=4
)


def samples(batches: list[Batch]) -> list[tuple[int, int, bytes]]:
    """Return the class, item and pixels of each sample."""
    return [
        (int(label), int(item), image.tobytes())
        for batch in batches
        for label, item, image in zip(batch["label"], batch["item"], batch["image"], strict=True)
    ]


def test_classes_come_by_weight_at_any_number_of_workers_and_across_a_resumption(tmp_path: Path) -> None:
    """And no two samples of an epoch are alike, though an item comes six times in it."""
    make_images(tmp_path / "photos", each=4, classes=("cat",))
    make_images(tmp_path / "photos", each=12, classes=("dog",))
    spec = make_spec(tmp_path / "photos", train=SAMPLED)
    with run_stack(spec, workers=1) as stack:
        expected = take(stack.feed("train"), 14)
    for batches in (expected[:7], expected[7:]):
        found = samples(batches)
        assert {0: 48, 1: 16} == dict(Counter(label for label, _, _ in found))
        assert {12} == set(Counter(item for label, item, _ in found if label == 0).values())
        assert [2] * 8 == list(Counter(item for label, item, _ in found if label == 1).values())
        assert 64 == len({pixels for _, _, pixels in found})
    with run_stack(spec, workers=3) as stack:
        feed = stack.feed("train")
        first = take(feed, 4)
        state = feed.state_dict()
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed("train")
        feed.load_state_dict(state)
        rest = take(feed, 10)
    assert digest(expected) == digest(first + rest)
