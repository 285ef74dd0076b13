"""Mixup and CutMix are torchvision's: what is drawn, and what is made of it, in PyTorch, JAX and numpy alike."""

import importlib
from typing import Any

import numpy as np
import pytest
from support.imaging.torchvision_reference import transforms

from penstock.trainer.adapters.mixing import UNIFORMS, Mix, mix_images, mix_labels, symmetric_beta

pytestmark = pytest.mark.torch

T = transforms()
torch: Any = importlib.import_module("torch")
stats: Any = importlib.import_module("scipy.stats")
SIZE, CLASSES, COUNT = (30, 44), 6, 5


def batch() -> tuple[Any, Any]:
    """Return images of 0 to 1 and labels."""
    generator = np.random.default_rng(5)
    return generator.random((COUNT, *SIZE, 3), np.float32), generator.integers(0, CLASSES, COUNT).astype(np.int32)


def numbers_of(settings: Mix, seed: int) -> Any:
    """Return the field `mix` of a batch."""
    drawn = settings.draw(np.random.default_rng(seed).random(UNIFORMS), *SIZE)
    return np.tile(drawn, (COUNT, 1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_batches_are_mixed_as_torchvision_mixes_them(kind: str, seed: int) -> None:
    """Given the same share or box: the same images and targets, within float32's rounding."""
    images, labels = batch()
    numbers = numbers_of(Mix(**{kind: 1.0}), seed)
    _, share, top, bottom, left, right = (float(number) for number in numbers[0])
    tensor, classes = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels).long()
    reference = (T.MixUp if kind == "mixup" else T.CutMix)(num_classes=CLASSES)
    parameters = {"labels": classes, "batch_size": COUNT, "lam": share, "lam_adjusted": share}
    parameters["box"] = (int(left), int(top), int(right), int(bottom))
    # Targets are tensors of the batch that are the labels themselves.
    wanted = reference.transform(tensor.clone(), parameters), reference.transform(classes, parameters)
    field = torch.from_numpy(numbers)
    got = mix_images(tensor, field, SIZE, "hwc"), mix_labels(classes, field, CLASSES, 0.0)
    for theirs, ours in zip(wanted, got, strict=True):
        assert theirs.shape == ours.shape
        assert (theirs - ours).abs().max() <= 2.0**-22


def test_shares_and_boxes_are_distributed_as_torchvisions() -> None:
    """Kolmogorov-Smirnov: 10^5 shares of both, and the ends of 10^5 boxes, against 20,000 of theirs."""
    torch.manual_seed(7)
    images = torch.zeros(2, 3, *SIZE)
    for alpha in (0.2, 1.0):
        mixup = T.MixUp(alpha=alpha, num_classes=2)
        theirs = [mixup.make_params([images])["lam"] for _ in range(20_000)]
        ours = [symmetric_beta(alpha, *row) for row in np.random.default_rng(1).random((100_000, 2))]
        # Torch draws in single precision, where a share that is nearly 1 is 1: one of 50 for an alpha of 0.2.
        assert stats.ks_2samp(np.round(theirs, 5), np.round(ours, 5)).pvalue > 1e-3
    cutmix = T.CutMix(alpha=1.0, num_classes=2)
    boxes = [cutmix.make_params([images]) for _ in range(20_000)]
    rows = np.array([Mix(cutmix=1.0).draw(row, *SIZE) for row in np.random.default_rng(2).random((100_000, UNIFORMS))])
    kept = [float(each["lam_adjusted"]) for each in boxes]  # fractions of whole pixels: float32 has others nearby
    assert stats.ks_2samp(np.round(kept, 5), np.round(rows[:, 1].astype(float), 5)).pvalue > 1e-3
    for place, column in enumerate((4, 2, 5, 3)):  # left, top, right, bottom
        assert stats.ks_2samp([int(each["box"][place]) for each in boxes], rows[:, column]).pvalue > 1e-3


@pytest.mark.parametrize("settings", [Mix(mixup=0.3), Mix(cutmix=1.0)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_framework_makes_the_same_numbers(dtype: str, settings: Mix) -> None:
    """PyTorch to the last bit; JAX, eager and compiled, within float32's rounding."""
    jax: Any = importlib.import_module("jax")
    images, labels = batch()
    images = (images * 255).astype(dtype)
    numbers = numbers_of(settings, 3)

    def both(images: Any, labels: Any, numbers: Any) -> tuple[Any, Any]:
        return mix_images(images, numbers, SIZE, "hwc"), mix_labels(labels, numbers, CLASSES, 0.1)

    expected = both(images, labels, numbers)
    tensors = both(*(torch.from_numpy(each) for each in (images.transpose(0, 3, 1, 2), labels, numbers)))
    assert np.array_equal(expected[0], tensors[0].numpy().transpose(0, 2, 3, 1))
    assert np.array_equal(expected[1], tensors[1].numpy())
    for compiled in (both, jax.jit(both)):
        for ours, theirs in zip(expected, compiled(*map(jax.numpy.asarray, (images, labels, numbers))), strict=True):
            assert ours.dtype == theirs.dtype
            assert np.abs(ours - np.asarray(theirs)).max() <= 1e-6 * max(1.0, np.abs(ours).max())


def test_half_precision_stays_what_it_is() -> None:
    """bfloat16 too, which numpy lacks."""
    images, _ = batch()
    field = torch.from_numpy(numbers_of(Mix(mixup=1.0), 1))
    for dtype in (torch.bfloat16, torch.float16):
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype)
        assert mix_images(tensor, field, SIZE, "hwc").dtype == dtype
