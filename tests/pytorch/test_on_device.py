"""Normalisation with PyTorch and JAX: the numbers that a worker or TensorFlow would make; and DLPack for the others."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.imaging.normalizing import noise, unchecked
from support.streams import make_spec, make_stream, run_stack

import penstock
from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import SpecError
from penstock.protocol.spec.statistics import Statistics
from penstock.trainer.adapters.normalize import BatchNormalizer
from penstock.worker.imaging.normalize import Normalizer

pytestmark = [pytest.mark.integration, pytest.mark.torch]

torch: Any = importlib.import_module("torch")
jax: Any = importlib.import_module("jax")

SHAPE = (6, 7, 3)
#: ImageNet's, as fractions of 1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SETTINGS: dict[str, dict[str, Any]] = {
    "rescaled": {"rescale": 1 / 255},
    "imagenet": {"rescale": 1 / 255, "featurewise_std_normalization": True, "mean": MEAN, "std": STD},
    "by sample": {"samplewise_std_normalization": True, "rescale": -0.5},
    "both means": {"samplewise_center": True, "featurewise_center": True, "mean": (7.0,)},
    "half, channels first": {"data_format": "channels_first", "dtype": "float16", "rescale": 1 / 255},
    "whitened": {"zca_whitening": True, "mean": (1.0, 2.0, 3.0)},
}


def normalizer(arguments: dict[str, Any]) -> tuple[BatchNormalizer, Any]:
    """Return a normaliser of small images, and images."""
    images = noise(5, 12, *SHAPE)
    zca = Statistics.fit(images, unchecked(zca_whitening=True), zca_epsilon=1.0).zca
    return BatchNormalizer(Normalizer(unchecked(where="trainer", **arguments), SHAPE, zca)), images


def close(expected: Any, got: Any) -> bool:
    """Return whether numbers agree within what docs/transforms.md states."""
    step = 1e-3 if expected.dtype == np.float16 else 2e-6
    difference = np.abs(expected.astype(np.float64) - got.astype(np.float64)).max()
    return bool(difference <= step * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", SETTINGS)
def test_pytorch_and_jax_make_the_numbers_of_a_worker(name: str) -> None:
    """As the loaders give images, channels last in memory or not; eager and compiled; images stay as they were."""
    normalize, images = normalizer(SETTINGS[name])
    expected = normalize(images)
    first = expected if "channels first" in name else expected.transpose(0, 3, 1, 2)
    seen = torch.from_numpy(images).permute(0, 3, 1, 2)
    for given in (seen, seen.contiguous(), seen.float()):
        before = given.clone()
        for _ in range(2):  # the second time with the constants of the first
            got = normalize(given)
            assert (expected.dtype.name, first.shape) == (str(got.dtype).removeprefix("torch."), tuple(got.shape))
            assert close(first, got.numpy())
        assert torch.equal(before, given)
    assert close(expected, normalize(torch.from_numpy(images)).numpy())
    for compiled in (normalize, jax.jit(normalize)):
        got = compiled(jax.numpy.asarray(images))
        assert (expected.dtype, expected.shape) == (got.dtype, got.shape)
        assert close(expected, np.asarray(got))


def test_mixed_precision_and_gradients_change_nothing() -> None:
    """Autocast does not make whitening coarse, and constants made without gradients serve those with."""
    normalize, images = normalizer(SETTINGS["whitened"])
    expected = normalize(images).transpose(0, 3, 1, 2)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert close(expected, normalize(tensor).numpy())
    levels = tensor.float().requires_grad_()
    normalize(levels).sum().backward()
    assert torch.isfinite(levels.grad).all()


def test_other_shapes_are_refused_in_words() -> None:
    """Resized, a single image, and channels where a side should be."""
    normalize, images = normalizer(SETTINGS["rescaled"])
    tensor = torch.from_numpy(images)
    for given in (tensor[0], tensor[:, :-1], tensor.permute(0, 2, 3, 1), jax.numpy.asarray(images)[:, :, :-1]):
        with pytest.raises(SpecError, match=r"normalise batches of uint8 \(samples, 6, 7, 3\)"):
            normalize(given)


@pytest.fixture(scope="module")
def levels(photos: Path) -> Iterator[LocalStack]:
    """Return a stack that leaves normalisation to the trainer."""
    transform = {"resize": {"height": 24, "width": 32}, "normalize": SETTINGS["imagenet"] | {"where": "trainer"}}
    with run_stack(make_spec(photos, train=make_stream(transform=transform, patches=1)), workers=1) as running:
        yield running


def test_images_are_normalised_and_mixed_alike_in_every_framework(levels: LocalStack) -> None:
    """A whole epoch: PyTorch's tensors and JAX's arrays become what numpy's become."""
    feed = levels.feed("train")
    mixed = penstock.MixedFeed(feed, mixup=0.4, cutmix=1.0, label_smoothing=0.1)
    normalize = feed.normalizer()
    expected = [mixed(normalize(batch["image"]), batch["label"], batch["mix"]) for batch in mixed]
    assert len(expected) == 8
    for loader in (mixed.torch(), mixed.jax(jax.sharding.SingleDeviceSharding(jax.devices()[0]))):
        feed.seek(0)
        for (images, targets), batch in zip(expected, loader, strict=True):
            got, wanted = mixed(normalize(batch["image"]), batch["label"], batch["mix"])
            channels_last = got.permute(0, 2, 3, 1) if isinstance(got, torch.Tensor) else got
            assert close(images, np.asarray(channels_last))
            assert close(targets, np.asarray(wanted))


def test_dlpack_takes_the_batch_to_other_libraries(levels: LocalStack) -> None:
    """The arrays of a feed speak the protocol, without a copy where the library makes none."""
    batch = next(iter(levels.feed("train")))
    tensor = torch.from_dlpack(batch["image"])
    assert tensor.data_ptr() == batch["image"].ctypes.data
    array = jax.dlpack.from_dlpack(batch["image"])
    assert np.array_equal(batch["image"], np.asarray(array))
