"""The demo's pictures: real JPEG files, the same from the same seed, told apart by texture and not by colour."""

from pathlib import Path

import numpy as np
from PIL import Image

from penstock.demo.images import PATTERNS, SIDES, make_picture, make_samples


def test_the_set_is_a_folder_a_class_of_real_jpegs_of_many_sizes(tmp_path: Path) -> None:
    """As many files as asked for, in train and held-out, that decode at sizes within the limits."""
    paths = list(make_samples(tmp_path, train=6, held_out=2))
    assert 4 * 8 == len(paths) == len(set(paths))
    assert sorted(paths) == sorted(tmp_path.rglob("*.jpg"))
    sizes = set()
    for path in paths:
        part, texture = path.relative_to(tmp_path).parts[:2]
        assert part in ("train", "held-out")
        assert texture in PATTERNS
        with Image.open(path) as image:
            assert ("JPEG", "RGB") == (image.format, image.mode)
            image.load()
            sizes.add(image.size)
    assert all(SIDES[0] <= side <= SIDES[1] for size in sizes for side in size)
    assert len(sizes) > 20


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    """And another seed, part or class others: no picture twice."""
    first = [path.read_bytes() for path in make_samples(tmp_path / "a", train=3, held_out=3)]
    again = [path.read_bytes() for path in make_samples(tmp_path / "b", train=3, held_out=3)]
    other = [path.read_bytes() for path in make_samples(tmp_path / "c", train=3, held_out=3, seed=1)]
    assert first == again
    assert 48 == len(set(first) | set(other))


def test_colour_does_not_tell_the_classes_apart() -> None:
    """Guessing a picture's class from the nearest mean of colours and contrasts is little better than chance (25 %)."""

    def features(number: int, label: int, texture: str) -> list[float]:
        pixels = make_picture(np.random.default_rng([9, label, number]), texture).astype(np.float64)
        return [*pixels.mean(axis=(0, 1)), *pixels.std(axis=(0, 1))]

    known, unknown = (
        np.array([[features(number, label, texture) for number in numbers] for label, texture in enumerate(PATTERNS)])
        for numbers in (range(60), range(60, 120))
    )
    centres = known.mean(axis=1)
    distances = np.linalg.norm((unknown[:, :, np.newaxis] - centres) / known.std(axis=(0, 1)), axis=-1)
    right = distances.argmin(axis=-1) == np.arange(len(PATTERNS))[:, np.newaxis]
    assert right.mean() < 0.4
