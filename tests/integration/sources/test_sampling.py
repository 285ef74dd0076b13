"""Weighted sampling through a whole stack: the same bytes at any number of workers and across a resumption."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import Batch, digest, make_images, make_spec, make_stream, run_stack, take

from penstock.protocol.errors import PenstockError

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


@pytest.mark.slow
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


def test_a_mixture_gives_the_same_bytes_at_any_number_of_workers_and_says_where_samples_come_from(
    tmp_path: Path,
) -> None:
    """Its parts' shares are exact, also with patches and mix windows."""
    make_images(tmp_path / "photos/web", each=8, classes=("cat", "dog"))
    make_images(tmp_path / "photos/clean", each=2, classes=("cat", "dog"))
    parts = {
        name: {"weight": weight, "source": {"kind": "directory", "path": name}}
        for name, weight in (("web", 1), ("clean", 1))
    }
    source = {"kind": "mixture", "root": "photos", "parts": parts}
    spec = make_spec(tmp_path / "photos", train=make_stream(source=source, batch_size=12))
    digests = []
    for workers in (1, 2):
        with run_stack(spec, workers=workers) as stack:
            batches = take(stack.feed("train"), 5)
        digests.append(digest(batches))
        parts_of = [
            (int(part), int(item))
            for batch in batches
            for part, item in zip(batch["source"], batch["item"], strict=True)
        ]
        assert {0: 30, 1: 30} == dict(Counter(part for part, _ in parts_of))
        assert all((item >= 16) == (part == 1) for part, item in parts_of)
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_parts_with_transforms_of_their_own_make_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """At 1, 2 and 5 workers, resumed in the midst of an epoch at another number, with bad items in both parts.

    Each part's items look as its own transform makes them.
    """
    for folder in ("web", "clean"):
        make_images(tmp_path / "photos" / folder, each=8, classes=("cat", "dog"))
        (tmp_path / "photos" / folder / "cat" / "bad.jpg").write_bytes(b"no image")
    parts: dict[str, Any] = {name: {"source": {"kind": "directory", "path": name}} for name in ("web", "clean")}
    parts["clean"]["transform"] = {
        "steps": [{"op": "random_crop", "size": [32, 40]}, {"op": "equalize"}, {"op": "posterize", "bits": 1}]
    }
    source = {"kind": "mixture", "root": "photos", "parts": parts}
    stream = make_stream(source=source, batch_size=12, failure_budget=0.2)
    spec = make_spec(tmp_path / "photos", train=stream)
    digests, per_epoch = [], 32 * 3 // 12
    for workers in (1, 2, 5):
        with run_stack(spec, workers=workers) as stack:
            feed = stack.feed("train")
            batches = take(feed, 2 * per_epoch)
        digests.append(digest(batches))
        for batch in batches:
            for part, image in zip(batch["source"], batch["image"], strict=True):
                assert (2 >= len(np.unique(image))) == (part == 1)
    assert 1 == len({*digests})
    with run_stack(spec, workers=3) as stack:
        feed = stack.feed("train")
        first = take(feed, per_epoch + 3)
        state = feed.state_dict()
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed("train")
        feed.load_state_dict(state)
        rest = take(feed, per_epoch - 3)
    assert digests[0] == digest(first + rest)
    parts["clean"].pop("transform")
    with run_stack(spec, workers=1) as stack:
        feed = stack.feed("train")
        feed.load_state_dict(state)
        with pytest.raises(PenstockError, match="fingerprint"):
            next(iter(feed))
