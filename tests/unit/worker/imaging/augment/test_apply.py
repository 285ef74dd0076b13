"""Whole tasks are changed as each sample alone, on every CPU."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from support.imaging.augmenting import EVERYTHING, noise

from penstock.protocol.philox import uniforms
from penstock.protocol.spec.augment import Augment
from penstock.worker.imaging.augment.apply import (
    Augmenter,
    apply_parameters,
    change_randomly,
    columns,
    random_parameters,
)

_DIGEST = """
import hashlib, numpy as np, sys
from penstock.protocol.spec.augment import Augment
from penstock.protocol.philox import uniforms
from penstock.protocol.spec.transform import Transform
from penstock.worker.imaging.augment.apply import Augmenter
digest = hashlib.sha256()
for fill in ("nearest", "constant", "reflect", "wrap"):
    for order in (0, 1, 3):
        for channels in (1, 3):
            settings = Augment(rotation_range=90.0, zoom_range=0.5, shear_range=20.0, width_shift_range=0.3,
                               channel_shift_range=40.0, fill_mode=fill, interpolation_order=order)
            images = np.random.default_rng(5).integers(0, 256, (12, 50, 61, channels), np.uint8)
            augmenter = Augmenter(settings, images.shape[1:])
            augmenter.begin(uniforms(1, 2, np.arange(12), 1, augmenter.columns)[:, 0])
            out = np.empty_like(images)
            augmenter.write_all(images, out)
            augmenter.finish(np.arange(12), out)
            digest.update(out.tobytes())
print(digest.hexdigest())
"""


def test_every_cpu_makes_the_same_bytes() -> None:
    """With and without AVX-512, AVX2 and fused multiply-add, in OpenCV and in numpy, as far as this CPU has them."""
    digests = set()
    for opencv, numpy, blas in (
        ("", "", {}),
        ("AVX512-SKX", "AVX512_SKX", {"OPENBLAS_CORETYPE": "Haswell"}),
        ("AVX512-SKX,AVX2,FMA3", "AVX512_SKX,AVX2,FMA3", {"OPENBLAS_CORETYPE": "Sandybridge"}),
        ("AVX512-SKX,AVX2,FMA3,AVX,FP16,SSE4.2,SSE4.1,SSSE3", "AVX512_SKX,AVX2", {"OPENBLAS_CORETYPE": "Prescott"}),
    ):
        features = {"OPENCV_CPU_DISABLE": opencv, "NPY_DISABLE_CPU_FEATURES": numpy} | blas
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _DIGEST],
            env=os.environ | features,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.split()[-1])
    assert 1 == len(digests)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 17, 3), (1, 1, 3), (24, 40, 1), (70, 80, 3), (300, 200, 3)])
def test_a_task_is_changed_as_each_sample_alone(shape: tuple[int, int, int]) -> None:
    """Computed for many at once, in bands or whole, from a stack or one by one: what `apply_parameters` makes."""
    images = noise(4, 40 if shape[0] < 100 else 3, *shape)
    drawn = uniforms(5, 1, np.arange(len(images)), 1, columns(EVERYTHING))[:, 0]
    augmenter = Augmenter(EVERYTHING, shape)
    stacked, single = np.empty_like(images), np.empty_like(images)
    augmenter.begin(drawn)
    augmenter.write_all(images, stacked)
    augmenter.finish(np.arange(len(images)), stacked)
    augmenter.begin(drawn)
    for sample in reversed(range(len(images))):
        augmenter.write(images[sample], sample, single[sample])
    augmenter.finish(np.arange(len(images)), single)
    assert np.array_equal(stacked, single)
    for image, row, result in zip(images, drawn, stacked, strict=True):
        alone = apply_parameters(image, random_parameters(EVERYTHING, shape, row), EVERYTHING)
        assert np.array_equal(alone, result)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_many_images_are_changed_as_each_alone(dtype: Any) -> None:
    """In one call for all of them, uint8 as in a worker, anything else at full precision."""
    images = noise(4, 40, 20, 24, 3).astype(dtype)
    for spec in (EVERYTHING, Augment(horizontal_flip=True, vertical_flip=True, channel_shift_range=9.0)):
        drawn = uniforms(5, 1, np.arange(40), 1, columns(spec))[:, 0]
        results = change_randomly(images, spec, drawn)
        assert images.dtype == results.dtype
        for image, row, result in zip(images, drawn, results, strict=True):
            alone = apply_parameters(image, random_parameters(spec, image.shape, row), spec)
            assert np.array_equal(alone, result)


def test_samples_that_failed_leave_the_others_parameters_alone() -> None:
    """Row k of the output is the sample of the task that it is said to be."""
    spec = Augment(brightness_range=(0.1, 1.0), channel_shift_range=50.0, horizontal_flip=True)
    images = noise(6, 10, 8, 8, 3)
    drawn = uniforms(5, 1, np.arange(10), 1, columns(spec))[:, 0]
    augmenter, kept = Augmenter(spec, (8, 8, 3)), np.array([1, 4, 8])
    augmenter.begin(drawn)
    out = np.empty_like(images[:3])
    for place, sample in enumerate(kept.tolist()):
        augmenter.write(images[sample], sample, out[place])
    augmenter.finish(kept, out)
    for place, sample in enumerate(kept.tolist()):
        expected = apply_parameters(images[sample], random_parameters(spec, (8, 8), drawn[sample]), spec)
        assert np.array_equal(expected, out[place])


@pytest.mark.parametrize("count", [1, 3])
def test_flips_mirror_half_of_the_samples(count: int) -> None:
    """A sample is mirrored if its one draw is below one half; its pixels may be a part of a larger image."""
    spec, view = Augment(horizontal_flip=True), noise(8, 40, 60, count)[3:33, 5:45]
    drawn = uniforms(3, 1, np.arange(200), 1, 1)[:, 0]
    augmenter = Augmenter(spec, (30, 40, count))
    augmenter.begin(drawn)
    for sample in range(200):
        out = np.full((2, 30, 40, count), 0xA5, np.uint8)
        augmenter.write(view, sample, out[1])
        assert np.array_equal(view[:, ::-1] if drawn[sample, 0] < 0.5 else view, out[1])
        assert (out[0] == 0xA5).all()
    assert 80 < (drawn < 0.5).sum() < 120


@pytest.mark.parametrize("side", [20, 80, 250])
@pytest.mark.parametrize("spec", [EVERYTHING, Augment(horizontal_flip=True)])
def test_turned_and_mirrored_views_are_samples_too(side: int, spec: Augment) -> None:
    """A manipulation may hand on a view with negative strides."""
    image = noise(8, side, side, 3)
    augmenter = Augmenter(spec, image.shape)
    augmenter.begin(uniforms(1, 0, np.arange(2), 1, augmenter.columns)[:, 0])
    for view in (np.rot90(image), image[::-1], image[:, ::-1], np.rot90(image, 3)):
        expected, actual = np.empty_like(image), np.empty_like(image)
        augmenter.write(np.ascontiguousarray(view), 1, expected)
        augmenter.write(view, 1, actual)
        assert np.array_equal(expected, actual)
