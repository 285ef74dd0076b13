"""Normalisation: Keras's `standardize` and `fit`, folded; the same in the worker, in numpy and in TensorFlow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.images import write_images
from support.keras.images import generator

from penstock.protocol.errors import SpecError
from penstock.protocol.fingerprint import fingerprint
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.normalize import Normalize
from penstock.protocol.spec.spec import Spec, Stream, parse_spec
from penstock.protocol.spec.statistics import Statistics
from penstock.protocol.spec.transform import Transform
from penstock.sources.directory import DirectorySource
from penstock.trainer.adapters.normalize import BatchNormalizer, batch_normalizer
from penstock.worker.imaging.normalize import Normalizer, open_normalizer
from penstock.worker.imaging.pipeline import Pipeline

Pixels = npt.NDArray[np.uint8]

steps = st.fixed_dictionaries(
    {},
    optional={
        "rescale": st.sampled_from([0.0, 1 / 255, 2.0, -0.01]),
        "samplewise_center": st.booleans(),
        "samplewise_std_normalization": st.booleans(),
        "featurewise_center": st.booleans(),
        "featurewise_std_normalization": st.booleans(),
    },
)


def noise(seed: int, *shape: int) -> Pixels:
    """Return uint8 noise around a level of its own."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, shape) * rng.uniform(0.2, 1.0, (len(range(shape[0])), 1, 1, 1))).astype(np.uint8)


def unchecked(**arguments: Any) -> Normalize:
    """Return settings whose statistics are still to be measured."""
    return Normalize.model_construct(None, **arguments)


def by_keras(images: Pixels, arguments: dict[str, Any], fit: Pixels | None = None) -> npt.NDArray[np.float32]:
    """Return what Keras's `standardize` makes of each image, in double precision, after `fit`."""
    keras = generator(**arguments, dtype="float64")
    if fit is not None:
        keras.fit(fit)
    result: npt.NDArray[np.float32] = np.stack([keras.standardize(image.astype(np.float64)) for image in images])
    return result


def fitted(images: Pixels, arguments: dict[str, Any], **more: Any) -> tuple[Normalize, Statistics]:
    """Return settings with the statistics of `images` in them, and the statistics."""
    plain = unchecked(**arguments)
    found = Statistics.fit(images, plain)
    numbers = {
        name: tuple(getattr(found, name).tolist()) for name in ("mean", "std") if getattr(found, name) is not None
    }
    return Normalize(**arguments, **numbers, **more), found


# against Keras


@pytest.mark.filterwarnings("ignore:This ImageDataGenerator specifies:UserWarning")  # that one step includes another
@settings(max_examples=60)
@given(seed=st.integers(0, 99), channels=st.sampled_from([1, 3]), arguments=steps)
def test_samples_are_standardised_as_by_keras(seed: int, channels: int, arguments: dict[str, Any]) -> None:
    """Every combination of steps, with the statistics that `fit` measures: within float32's rounding."""
    images = noise(seed, 9, 8, 11, channels)
    spec, _ = fitted(images, arguments)
    expected = by_keras(images, arguments, images)
    actual = Normalizer(spec, (8, 11, channels))(images)
    assert np.float32 == actual.dtype
    assert np.abs(expected - actual).max() <= 3e-6 * max(1.0, np.abs(expected).max())


@pytest.mark.filterwarnings("ignore:This ImageDataGenerator specifies:UserWarning")
@pytest.mark.parametrize("more", [{}, {"rescale": 1 / 255}, {"samplewise_std_normalization": True}])
def test_whitening_is_kerass(more: dict[str, Any]) -> None:
    """The matrix and what it makes of samples; singular vectors may differ in sign, their product does not."""
    images = noise(3, 120, 4, 5, 3)
    arguments = {"zca_whitening": True, "featurewise_std_normalization": True} | more
    found = Statistics.fit(images, unchecked(**arguments), zca_epsilon=1e-2)
    assert found.mean is not None
    assert found.std is None
    spec = unchecked(**arguments, mean=tuple(found.mean.tolist()))
    keras = generator(**arguments, zca_epsilon=1e-2, dtype="float64")
    keras.fit(images)
    expected = np.stack([keras.standardize(image.astype(np.float64)) for image in images])
    actual = Normalizer(spec, (4, 5, 3), found.zca)(images)
    assert np.abs(expected - actual).max() <= 1e-3 * np.abs(expected).max()
    if not more:  # what whitening means: the fitted samples' values are uncorrelated, of variance one
        flat = actual.reshape(120, -1)  # about the mean of each channel, which is what Keras subtracts
        covariance = flat.T @ flat / 120
        assert np.abs(covariance - np.eye(60)).max() < 0.02


def test_a_sample_without_contrast_stays_finite() -> None:
    """Its deviation is zero: 10^-6 is what it is divided by, and its own mean is exact."""
    spec = Normalize(samplewise_std_normalization=True, rescale=1 / 255)
    images = np.full((2, 7, 7, 3), 199, np.uint8)
    images[1, 3, 3] = 200
    result = Normalizer(spec, (7, 7, 3))(images)
    assert (result[0] == 0.0).all()
    assert np.isfinite(result).all()
    assert 1.0 == pytest.approx(result[1].std(), abs=3e-3)


# form


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("count", [1, 40])
def test_type_and_axes_are_those_of_the_spec(dtype: Any, count: int) -> None:
    """Channels first is the same numbers, transposed; float16 the same, rounded; in given memory or in new."""
    images = noise(1, count, 30, 20, 3)
    plain = Normalizer(Normalize(rescale=1 / 255, featurewise_center=True, mean=(0.1, 0.2, 0.3)), (30, 20, 3))(images)
    for axes in ("channels_last", "channels_first"):
        spec = Normalize(rescale=1 / 255, featurewise_center=True, mean=(0.1, 0.2, 0.3), dtype=dtype, data_format=axes)
        expected = (plain.transpose(0, 3, 1, 2) if axes == "channels_first" else plain).astype(dtype)
        normalizer = Normalizer(spec, (30, 20, 3))
        out = np.empty_like(expected)
        assert normalizer(images, out) is out
        for actual in (out, normalizer(images)):
            assert expected.dtype == actual.dtype
            assert np.array_equal(expected, actual)


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


# the pipeline and the spec


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


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_statistics_file_is_read_with_the_spec(tmp_path: Path, suffix: str) -> None:
    """Its numbers travel in the spec, its digest stands in the fingerprint, its matrix is read where it is needed."""
    images = noise(5, 150, 4, 4, 3)
    arguments = {"zca_whitening": True}
    found = Statistics.fit(images, unchecked(**arguments))
    file = tmp_path / f"statistics{suffix}"
    found.save(file)
    data = {
        "roots": {"data": str(tmp_path)},
        "streams": {
            "train": {
                "source": {"kind": "directory", "root": "data"},
                "transform": {
                    "resize": {"height": 4, "width": 4},
                    "normalize": arguments | {"statistics": file.name},
                },
            }
        },
    }
    spec = parse_spec(data)
    stream = spec.streams["train"]
    settings = stream.transform.normalize
    assert settings is not None
    assert found.mean is not None
    assert tuple(found.mean.tolist()) == settings.mean
    again = Spec.model_validate_json(spec.model_dump_json())
    assert again.streams == spec.streams
    normalizer = open_normalizer(settings, (4, 4, 3), stream.source, spec.roots)
    assert np.array_equal(found.zca, normalizer.zca)  # type: ignore[arg-type]
    before = fingerprint(spec, stream, "listing")
    Statistics(mean=found.mean, zca=np.zeros_like(found.zca)).save(file)
    with pytest.raises(SpecError, match="bring the same file"):
        open_normalizer(settings, (4, 4, 3), stream.source, spec.roots)
    changed = parse_spec(data)
    assert before != fingerprint(changed, changed.streams["train"], "listing")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the statistics"),
        (b"", "not statistics"),
        (b"[1, 2]", "not statistics: it holds list"),
        (b'{"men": [1]}', "it holds .'men'."),
        (b'{"std": [1, 2, 3]}', "holds no mean"),
        (b'{"mean": [1, 2]}', "mean has 2 numbers, but samples have 3"),
        (b'{"mean": [NaN]}', "not finite"),
        (b'{"mean": "many"}', "not statistics"),
    ],
)
def test_a_bad_statistics_file_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """Missing, damaged, of another make, of other channels: an error that names the stream and the file."""
    if content is not None:
        (tmp_path / "s.json").write_bytes(content)
    normalize = {"featurewise_center": True, "statistics": "s.json"}
    data = {
        "roots": {"data": str(tmp_path)},
        "streams": {
            "train": {
                "source": {"kind": "directory", "root": "data"},
                "transform": {"resize": {"height": 4, "width": 4}, "normalize": normalize},
            }
        },
    }
    with pytest.raises(SpecError, match=rf"streams.train.transform: .*{words}"):
        parse_spec(data)


def test_no_pickle_is_read(tmp_path: Path) -> None:
    """A .npz may hold objects; ours never do, and none is unpickled."""
    np.savez(tmp_path / "s.npz", mean=np.array([{"a": 1}], dtype=object))
    with pytest.raises(SpecError, match="not statistics"):
        Statistics.load(tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"featurewise_center": True}, "needs mean"),
        ({"featurewise_std_normalization": True, "mean": [1.0]}, "needs std"),
        ({"zca_whitening": True, "mean": [1.0]}, "needs statistics"),
        ({"statistics": "x.pickle"}, "give a .npz or .json"),
        ({"dtype": "float64"}, "float32"),
        ({"mean": []}, "mean"),
        ({"rescale": float("inf")}, "finite"),
    ],
)
def test_senseless_normalisation_is_refused(arguments: dict[str, Any], words: str) -> None:
    """What Keras would warn about and leave out is an error here, with what to add."""
    with pytest.raises(ValidationError, match=words):
        Normalize(**arguments)


def test_statistics_are_those_of_the_samples_channels() -> None:
    """One number for all, or one a channel: found when the spec is read, with what it says and what it should."""
    for color, fitting in (("rgb", (1, 3)), ("gray", (1,)), ("rgba", (1, 4))):
        for count in range(1, 6):
            normalize = {"featurewise_center": True, "mean": [0.5] * count}
            transform = {"color": color, "resize": {"height": 4, "width": 4}, "normalize": normalize}
            if count in fitting:
                Transform.model_validate(transform)
                continue
            with pytest.raises(ValidationError, match=f"mean has {count} numbers, but samples have"):
                Transform.model_validate(transform)


def test_a_trainer_is_told_when_there_is_nothing_to_normalise() -> None:
    """Another wish in the spec, and images that are no batch of the stream."""
    with pytest.raises(SpecError, match=r"no \[transform.normalize\]"):
        batch_normalizer(plan_of(None))
    with pytest.raises(SpecError, match='where = "worker"'):
        batch_normalizer(plan_of({"rescale": 0.5}))
    normalizer = batch_normalizer(plan_of({"rescale": 0.5, "where": "trainer"}))
    with pytest.raises(SpecError, match=r"uint8 \(samples, 20, 24, 3\)"):
        normalizer(np.zeros((2, 20, 24, 3), np.float32))


def test_statistics_of_nothing_are_refused() -> None:
    """An array of another rank, or none at all."""
    for shape in ((0, 4, 4, 3), (4, 4, 3)):
        with pytest.raises(SpecError, match=r"give .samples, height, width, channels."):
            Statistics.fit(np.zeros(shape), Normalize())


def test_a_matrix_for_other_samples_is_refused() -> None:
    """ZCA mixes all values of a sample: its size is theirs."""
    spec = unchecked(zca_whitening=True, mean=(0.0,))
    for zca, words in ((None, "no matrix"), (np.eye(5, dtype=np.float32), "a matrix for 5 values")):
        with pytest.raises(SpecError, match=words):
            Normalizer(spec, (2, 2, 3), zca)


def test_statistics_in_json_are_plain_numbers(tmp_path: Path) -> None:
    """Anybody can write them, and read what `save` wrote."""
    Statistics(mean=np.array([1.5, 2.0, 3.0]), std=np.array([0.5])).save(tmp_path / "s.json")
    assert {"mean": [1.5, 2.0, 3.0], "std": [0.5]} == json.loads((tmp_path / "s.json").read_text())
