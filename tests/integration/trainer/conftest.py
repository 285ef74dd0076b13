"""A running stack of small streams for the tests of TensorFlow and Keras."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.small_streams import ITEMS, MANIPULATIONS, SMALL
from support.streams import make_images, make_spec, make_stream, run_stack

from penstock.launcher.stack import LocalStack
from penstock.trainer.client.feed import Feed


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 2 × 20 JPEG files."""
    return make_images(tmp_path_factory.mktemp("photos"), each=ITEMS // 2, size=32)


@pytest.fixture(scope="module")
def stack(photos: Path) -> Iterator[LocalStack]:
    """Return a running stack with some streams over the same images."""
    broken = photos / "broken"
    make_images(broken, each=ITEMS // 2, size=32)
    for number in range(0, ITEMS // 2, 2):  # 10 of 40 items: 30 samples, 2 batches an epoch
        (broken / "cat" / f"{number:04}.jpg").write_bytes(b"not an image")
    source = {"kind": "directory", "root": "photos", "path": "broken"}
    stream = make_stream(**SMALL, source={"kind": "directory", "root": "photos", "classes": ["cat", "dog"]})
    spec = make_spec(
        photos,
        train=stream,
        even=stream | {"drop_remainder": True},
        patchy=make_stream(**SMALL, source=source, failure_budget=1.0),
        spoilt=make_stream(**SMALL, source=source, failure_budget=0.05),
        empty=make_stream(**SMALL, source=source | {"classes": ["cat"]}, failure_budget=1.0) | {"drop_remainder": True},
        huge=stream | {"batch_size": ITEMS + 1, "drop_remainder": True},
        long=stream | {"batch_size": 2},
        manipulated=stream | {"transform": SMALL["transform"] | {"manipulations": MANIPULATIONS}},
        every=stream | {"transform": SMALL["transform"] | {"manipulations": MANIPULATIONS | {"every": True}}},
    )
    with run_stack(spec, workers=1, ventilator={"confirm_s": 0.5}) as running:
        yield running


@pytest.fixture
def feed(stack: LocalStack) -> Iterator[Feed]:
    """Return a feed of `train` at position 0."""
    with stack.feed("train", timeout_s=60) as one:
        yield one
