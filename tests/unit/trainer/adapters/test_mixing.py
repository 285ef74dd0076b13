"""Mixing of batches: what is drawn, what becomes of images and labels, and that frameworks agree."""

import hashlib
import importlib
from typing import Any

import numpy as np
import pytest

from penstock.protocol.errors import SpecError
from penstock.trainer.adapters.mixing import UNIFORMS, Mix, mix_images, mix_labels, symmetric_beta

stats: Any = importlib.import_module("scipy.stats")
SIZE = (9, 12)
BOTH = Mix(mixup=0.4, cutmix=1.0)


def rows(count: int, seed: int = 1) -> Any:
    """Return the uniforms of so many batches."""
    return np.random.default_rng(seed).random((count, UNIFORMS))


def batch(count: int = 7) -> tuple[Any, Any, Any]:
    """Return images, labels, and numbers that differ from sample to sample: two mixed up, one cut, one as it is."""
    images = np.random.default_rng(3).integers(0, 256, (count, *SIZE, 3), np.uint8)
    numbers = np.zeros((count, 6), np.float32)
    numbers[:, :2] = 1.0
    numbers[0, :2] = 0.3
    numbers[1] = (1, 1 - 5 * 4 / 108, 2, 7, 8, 12)
    numbers[2, :2] = 0.75
    return images, np.arange(count, dtype=np.int32) % 5, numbers


@pytest.mark.parametrize(
    ("alpha", "count"),
    [
        *((alpha, 3000) for alpha in (0.2, 0.5, 1.0, 8.0)),
        *(pytest.param(alpha, 100_000, marks=pytest.mark.slow) for alpha in (0.2, 1.0)),
    ],
)
def test_shares_are_distributed_by_beta(alpha: float, count: int) -> None:
    """Kolmogorov-Smirnov against SciPy's distribution."""
    shares = [symmetric_beta(alpha, first, second) for first, second in np.random.default_rng(2).random((count, 2))]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [0.01, 1000.0])
def test_shares_at_the_ends_of_all_uniforms_are_shares(alpha: float) -> None:
    """No division by zero, no overflow."""
    ends = (0.0, 2.0**-53, 0.25, 0.5, 1 - 2.0**-53)
    shares = [symmetric_beta(alpha, first, second) for first in ends for second in ends]
    assert all(0.0 <= share <= 1.0 for share in shares)


def test_draws_are_pinned() -> None:
    """The numbers of a batch stay the same in every release."""
    drawn = np.array([BOTH.draw(row, 224, 192) for row in rows(200)])
    assert hashlib.sha256(drawn.tobytes()).hexdigest()[:16] == "f7ca3d794e025900"


def test_settings_choose_what_a_batch_gets() -> None:
    """Chi-squared: none, mixup and CutMix as often as `p` and `switch` say; one alone is always that one."""
    drawn = np.array([Mix(mixup=1.0, cutmix=1.0, switch=0.25, p=0.8).draw(row, 50, 60) for row in rows(100_000)])
    none, mixup = (drawn[:, 1] == 1.0) & (drawn[:, 5] == 0), drawn[:, 0] < 1.0
    counts = [none.sum(), mixup.sum(), (~none & ~mixup).sum()]
    assert stats.chisquare(counts, [20_000, 60_000, 20_000]).pvalue > 1e-3
    assert all(Mix(cutmix=1.0).draw(row, 50, 60)[0] == 1.0 for row in rows(50))
    assert all(not Mix(mixup=1.0).draw(row, 50, 60)[2:].any() for row in rows(50))
    assert all(Mix().draw(row, 50, 60).tolist() == [1, 1, 0, 0, 0, 0] for row in rows(5))


def test_a_box_s_share_of_the_target_is_that_of_its_pixels() -> None:
    """Also where the image's edge cuts it off; it lies in the image."""
    for row in rows(300):
        _, kept, top, bottom, left, right = Mix(cutmix=0.5).draw(row, *SIZE).tolist()
        assert 0 <= top <= bottom <= SIZE[0]
        assert 0 <= left <= right <= SIZE[1]
        assert kept == np.float32(1.0 - (bottom - top) * (right - left) / (SIZE[0] * SIZE[1]))


def test_images_are_mixed_with_the_ones_before() -> None:
    """The first with the last; by shares, or inside of the box; whole numbers become float32."""
    images, _, numbers = batch()
    mixed = mix_images(images, numbers, SIZE, "hwc")
    whole = images.astype(np.float32)
    assert mixed.dtype == np.float32
    assert np.allclose(whole[0] * 0.3 + whole[6] * 0.7, mixed[0], rtol=1e-6)
    cut = whole[1].copy()
    cut[2:7, 8:12] = whole[0][2:7, 8:12]
    assert np.array_equal(cut, mixed[1])
    assert np.allclose(whole[2] * 0.75 + whole[1] * 0.25, mixed[2], rtol=1e-6)
    assert np.array_equal(whole[3:], mixed[3:])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floating_point_images_keep_their_type(dtype: str) -> None:
    """Whatever is drawn."""
    images, _, numbers = batch()
    assert mix_images((images / 255).astype(dtype), numbers, SIZE, "hwc").dtype == dtype


def test_axes_may_stand_in_any_order() -> None:
    """Channels last, first, or none: the same pixels. The shape decides, and the schema where both orders fit."""
    images, _, numbers = batch()
    expected = mix_images(images, numbers, SIZE, "hwc")
    assert np.array_equal(
        expected.transpose(0, 3, 1, 2), mix_images(images.transpose(0, 3, 1, 2), numbers, SIZE, "hwc")
    )
    assert np.array_equal(expected[..., 0], mix_images(images[..., 0], numbers, SIZE, "hw"))
    cube = images[:, :3, :3]
    first = mix_images(cube.transpose(0, 3, 1, 2), numbers, (3, 3), "chw")
    assert np.array_equal(mix_images(cube, numbers, (3, 3), "hwc").transpose(0, 3, 1, 2), first)


def test_targets_are_one_hot_smoothed_and_mixed() -> None:
    """Of class indices, or of targets that were made before."""
    _, labels, numbers = batch()
    plain = np.eye(6, dtype=np.float32)[labels]
    assert np.array_equal(plain[3:], mix_labels(labels, numbers, 6, 0.0)[3:])
    smooth = plain * 0.9 + 0.1 / 6
    share = numbers[:, 1:2]
    expected = smooth * share + np.roll(smooth, 1, axis=0) * (1 - share)
    targets = mix_labels(labels, numbers, 6, 0.1)
    assert targets.dtype == np.float32
    assert np.allclose(expected, targets, atol=1e-6)
    assert np.allclose(targets.sum(axis=1), 1.0, atol=1e-6)
    assert np.array_equal(targets, mix_labels(plain, numbers, 6, 0.1))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_tensorflow_makes_the_same_numbers(dtype: str) -> None:
    """Eagerly to the last bit; in a graph within float32's rounding, also with an unknown number of samples."""
    tf = pytest.importorskip("tensorflow")
    images, labels, numbers = batch()
    images = images.astype(dtype)
    arguments = [tf.constant(each) for each in (images, labels, numbers)]

    def both(images: Any, labels: Any, numbers: Any) -> tuple[Any, Any]:
        return mix_images(images, numbers, SIZE, "hwc"), mix_labels(labels, numbers, 6, 0.1)

    unknown = [tf.TensorSpec((None, *each.shape[1:]), each.dtype) for each in arguments]
    for actual, bound in ((both(*arguments), 0.0), (tf.function(both, input_signature=unknown)(*arguments), 1e-6)):
        for ours, theirs in zip(both(images, labels, numbers), actual, strict=True):
            assert (ours.dtype, ours.shape) == (theirs.numpy().dtype, theirs.shape)
            assert np.abs(ours.astype(np.float64) - theirs.numpy()).max() <= bound * 255


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mixup": -1.0}, r"mixup = -1\.0: give a number of 0 to 1000"),
        ({"cutmix": "1"}, r"cutmix = '1': give"),
        ({"mixup": 0.001}, r"mixup = 0\.001: give 0 for none, or 0\.01 and more"),
        ({"switch": 1.5}, r"switch = 1\.5: give a number of 0 to 1"),
        ({"label_smoothing": float("nan")}, r"label_smoothing = nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    """With their values."""
    with pytest.raises(SpecError, match=words):
        Mix(**settings)


def test_arrays_that_cannot_be_mixed_are_refused() -> None:
    """With their shapes or types."""
    images, labels, numbers = batch()
    with pytest.raises(SpecError, match=r"shape \(7, 8, 12, 3\).*resize after mixing"):
        mix_images(images[:, 1:], numbers, SIZE, "hwc")
    with pytest.raises(SpecError, match=r"shape \(7, 1\): give class indices"):
        mix_labels(labels[:, None], numbers, 5, 0.0)
    with pytest.raises(SpecError, match=r"builtins\.list: give arrays"):
        mix_labels(labels.tolist(), numbers, 5, 0.0)
