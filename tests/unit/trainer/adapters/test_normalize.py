"""Normalisation of whole batches in the trainer: the numbers a worker would make, in numpy and TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.images import write_images
from support.imaging.normalizing import noise, unchecked

from penstock.protocol.errors import SpecError
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Stream
from penstock.protocol.spec.statistics import Statistics
from penstock.protocol.spec.transform import Transform
from penstock.sources.directory import DirectorySource
from penstock.trainer.adapters.normalize import BatchNormalizer, batch_normalizer
from penstock.worker.imaging.normalize import Normalizer
from penstock.worker.imaging.pipeline import Pipeline


def test_numpy_and_tensorflow_agree() -> None:
    """The trainer's device makes the numbers that a worker would, within float32's rounding; graph or eager."""
    tf = pytest.importorskip("tensorflow")
    images = noise(5, 12, 6, 7, 3)
    zca = Statistics.fit(images, unchecked(zca_whitening=True), zca_epsilon=1.0)
    assert zca.mean is not None
    mean = tuple(zca.mean.tolist())
    for arguments in (
        {"rescale": 1 / 255},
        {"samplewise_std_normalization": True, "rescale": -0.5},
        {"featurewise_std_normalization": True, "mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0)},
        {"samplewise_center": True, "featurewise_center": True, "mean": (7.0,)},
        {"data_format": "channels_first", "dtype": "float16", "rescale": 1 / 255},
        {"zca_whitening": True, "mean": mean},
    ):
        spec = unchecked(where="trainer", **arguments)
        normalizer = BatchNormalizer(Normalizer(spec, (6, 7, 3), zca.zca))
        expected = normalizer(images)
        eager = normalizer(tf.constant(images)).numpy()
        (graph,) = tf.data.Dataset.from_tensor_slices(images).batch(12).map(normalizer).as_numpy_iterator()
        for actual in (eager, graph):
            assert (expected.dtype, expected.shape) == (actual.dtype, actual.shape)
            step = 1e-3 if spec.dtype == "float16" else 2e-6
            assert np.abs(expected.astype(np.float64) - actual).max() <= step * max(1.0, np.abs(expected).max())


def plan_of(normalize: dict[str, Any] | None) -> StreamPlan:
    """Return a stream of small crops with augmentation."""
    transform: dict[str, Any] = {
        "patch": {"kind": "random", "height": 20, "width": 24},
        "augment": {"rotation_range": 20.0, "channel_shift_range": 30.0},
    }
    if normalize is not None:
        transform["normalize"] = normalize
    settings = Stream(
        source=DirectorySource(kind="directory", root="photos"),
        transform=Transform.model_validate(transform),
        patches=2,
    )
    return StreamPlan(name="train", seed=3, settings=settings, items=9, classes=("cat",), fingerprint="f")


def test_normalising_here_or_there_makes_the_same_samples(tmp_path: Path) -> None:
    """A worker's floats are what the trainer makes of the uint8 samples; failures leave no hole in them."""
    write_images(tmp_path, ("cat",), 3)
    (tmp_path / "cat/bad.jpg").write_bytes(b"no image")
    paths = ["cat/00000.jpg", "cat/bad.jpg", "cat/00001.jpg", "cat/00002.jpg"]
    items = tuple(Item(item=place, path=path, label=0) for place, path in enumerate(paths))
    task = Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=0, items=items)
    normalize = {"samplewise_std_normalization": True, "data_format": "channels_first"}
    results = {}
    for where in ("worker", "trainer"):
        plan = plan_of(normalize | {"where": where})
        worker = Pipeline(plan, {"photos": tmp_path})
        outcome, again = worker.run(task), worker.run(task)
        assert 1 == len(outcome.failures)
        assert np.array_equal(outcome.arrays[0], again.arrays[0])
        results[where] = outcome.arrays[0]
        field = plan.schema[0]
        assert (field.dtype, (6, *field.shape)) == (outcome.arrays[0].dtype.name, outcome.arrays[0].shape)
    assert np.array_equal(results["trainer"], Pipeline(plan_of(None), {"photos": tmp_path}).run(task).arrays[0])
    assert np.array_equal(
        results["worker"], batch_normalizer(plan_of(normalize | {"where": "trainer"}))(results["trainer"])
    )
    assert (6, 3, 20, 24) == results["worker"].shape


def test_a_trainer_is_told_when_there_is_nothing_to_normalise() -> None:
    """Another wish in the spec, and images that are no batch of the stream."""
    with pytest.raises(SpecError, match=r"no \[transform.normalize\]"):
        batch_normalizer(plan_of(None))
    with pytest.raises(SpecError, match='where = "worker"'):
        batch_normalizer(plan_of({"rescale": 0.5}))
    normalizer = batch_normalizer(plan_of({"rescale": 0.5, "where": "trainer"}))
    with pytest.raises(SpecError, match=r"uint8 \(samples, 20, 24, 3\)"):
        normalizer(np.zeros((2, 20, 24, 3), np.float32))
