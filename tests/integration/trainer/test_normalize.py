"""Normalised streams through a real stack: floats from workers, or uint8 that the trainer's device normalises."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import epochs, make_images, make_spec, make_stream, run_stack

from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import SpecError
from penstock.protocol.spec.normalize import Normalize
from penstock.protocol.spec.statistics import Statistics

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # read when TensorFlow is loaded

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SHAPE = (8, 12, 3)
AUGMENT = {"rotation_range": 15.0, "zoom_range": 0.2, "channel_shift_range": 20.0, "brightness_range": [0.8, 1.2]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Return a running stack: one stream normalised by workers, one left to the trainer, one neither; whitened."""
    photos = make_images(tmp_path_factory.mktemp("photos"), each=20, size=32)
    pixels = np.random.default_rng(1).integers(0, 256, (400, *SHAPE), np.uint8)
    settings = Normalize.model_construct(rescale=1 / 255, zca_whitening=True)
    Statistics.fit(pixels, settings, zca_epsilon=1.0).save(photos / "statistics.npz")
    normalize = {"rescale": 1 / 255, "zca_whitening": True, "statistics": "statistics.npz", "dtype": "float32"}

    def stream(normalize: dict[str, Any] | None) -> dict[str, Any]:
        transform: dict[str, Any] = {"resize": {"height": 8, "width": 12}, "augment": AUGMENT}
        return make_stream(
            transform=transform | ({"normalize": normalize} if normalize else {}), patches=1, mix=1, batch_size=16
        )

    spec = make_spec(
        photos,
        plain=stream(None),
        worker=stream(normalize | {"where": "worker", "data_format": "channels_first"}),
        trainer=stream(normalize | {"where": "trainer", "data_format": "channels_first"}),
    )
    with run_stack(spec, workers=1) as running:
        yield running


def test_workers_and_trainers_normalise_alike(stack: LocalStack, tmp_path: Path) -> None:
    """The same samples in the same order; the trainer's floats are the workers', in numpy and in TensorFlow."""
    batches = {name: epochs(stack.feed(name), 1) for name in ("plain", "worker", "trainer")}
    with stack.feed("trainer") as feed:
        roots = {"photos": feed_root(stack)}
        normalize = feed.normalizer(roots)
        assert ("uint8", SHAPE) == (feed.schema[0].dtype, feed.schema[0].shape)
        by_tensorflow = [
            images.numpy() for images, _ in feed.dataset().map(lambda image, label: (normalize(image), label))
        ]
        with pytest.raises(SpecError, match="--root photos=/path"):
            feed.normalizer({"other": str(tmp_path)})
    for plain, floats, levels, tensors in zip(
        batches["plain"], batches["worker"], batches["trainer"], by_tensorflow, strict=True
    ):
        assert np.array_equal(plain["image"], levels["image"])
        assert np.array_equal(plain["item"], floats["item"])
        assert ("float32", (3, 8, 12)) == (floats["image"].dtype.name, floats["image"].shape[1:])
        for made in (normalize(levels["image"]), tensors):
            assert np.abs(floats["image"] - made).max() <= 1e-4 * np.abs(floats["image"]).max()


def feed_root(stack: LocalStack) -> str:
    """Return the folder that the stack's workers read from."""
    return stack.spec.roots["photos"]
