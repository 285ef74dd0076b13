"""Further images: the same geometry as the image, colours of their own, and what is wrong with bad ones."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.imaging.detection import SIZE, STEPS, by_name, failure, write_set

AFTER: dict[str, Any] = {"kind": "image", "column": "after", "color": "gray"}
JITTER = {"op": "color_jitter", "brightness": [0.2, 1.0]}


def both(root: Path, steps: list[dict[str, Any]], **target: Any) -> tuple[Any, Any]:
    """Return the images and the further images of six samples; the files are the same."""
    write_set(root, 6, {number: {"after": f"{number}.png"} for number in range(6)})
    found = by_name(root, range(6), targets={"after": AFTER | target}, steps=steps)
    return found["image"], found["after"]


@pytest.mark.parametrize("colors", ["own", "none"])
def test_the_same_file_makes_the_same_picture(tmp_path: Path, colors: str) -> None:
    """Through random crops, flips and turns."""
    image, after = both(tmp_path, STEPS, colors=colors)
    assert len({each.tobytes() for each in image}) == 6
    assert np.array_equal(image, after)


def test_colours_are_drawn_for_each_image(tmp_path: Path) -> None:
    """The geometry is shared; with `none`, colours stay as they are in the file."""
    image, after = both(tmp_path / "own", [*STEPS, JITTER])
    plain = both(tmp_path / "none", [*STEPS, JITTER], colors="none")[1]
    assert not np.array_equal(image, after)
    for one, other, file in zip(image, after, plain, strict=True):
        lit = file > 150  # where the file is bright, so are both, by a factor each
        assert np.ptp(one[lit].astype(int)) <= np.ptp(file[lit].astype(int)) + 1
        assert np.array_equal(file == 0, (file == 0) & (one == 0) & (other == 0))
    assert np.array_equal(plain, both(tmp_path / "plain", STEPS)[1])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("none.png", "'none.png': no such file"),
        ("small.png", r"image 'small.png': has 10 × 9 pixels \(width × height\), and its counterpart 48 × 40"),
        ("damaged.png", "image 'damaged.png': "),
    ],
)
def test_bad_images_are_quarantined(tmp_path: Path, cell: str, reason: str) -> None:
    """Another size, a missing file, a damaged one."""
    Image.fromarray(np.zeros((9, 10), np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    found = failure(tmp_path, {"after": cell}, {"after": AFTER}, {"after": "good.png"})
    assert re.search(rf"list.jsonl, line 2: after \(target after\): .*{reason}", found), found
