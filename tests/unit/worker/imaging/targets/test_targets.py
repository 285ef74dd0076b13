"""Targets of a stream: the fields that samples have, what moves them, and what a bad target is called."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.deep_images import tiff
from support.imaging.detection import BOXES, NONE, SIZE, TARGETS, by_name, detection, failure, make, write_set


def test_unmoved_targets_are_those_of_the_manifest(tmp_path: Path) -> None:
    """Boxes are padded with zeros, their labels with -1, and a count says how many there are; masks are exact."""
    write_set(tmp_path, 2)
    found = by_name(tmp_path, [1], steps=NONE)
    assert ["image", "label", "item", "patch", "boxes", "boxes_count", "boxes_label", "mask"] == list(found)
    assert [[[4, 6, 20, 22], [24, 10, 44, 38], [0] * 4, [0] * 4]] == found["boxes"].tolist()
    assert [2] == found["boxes_count"].tolist()
    assert [[0, 1, -1, -1]] == found["boxes_label"].tolist()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks/1.png")), found["mask"][0])


@pytest.mark.parametrize(
    ("form", "normalized", "numbers"),
    [
        ("xywh", False, [[4, 6, 16, 16, 0], [24, 10, 20, 28, 1]]),
        ("cxcywh", False, [[12, 14, 16, 16, "cat"], [34, 24, 20, 28, "dog"]]),
        ("xyxy", True, [[4 / 48, 6 / 40, 20 / 48, 22 / 40, "cat"], [0.5, 0.25, 44 / 48, 0.95, "dog"]]),
    ],
)
def test_boxes_are_read_in_every_form(tmp_path: Path, form: str, normalized: bool, numbers: list[Any]) -> None:  # noqa: FBT001 - a case
    """The same boxes, however they are written."""
    write_set(tmp_path, 1, {0: {"boxes": numbers}})
    boxes = TARGETS["boxes"] | {"format": form, "normalized": normalized}
    found = by_name(tmp_path, [0], targets={"boxes": boxes}, steps=NONE)
    assert np.allclose([box[:4] for box in BOXES], found["boxes"][0, :2], rtol=0, atol=1e-4)
    assert [0, 1] == found["boxes_label"][0, :2].tolist()


def test_targets_move_as_the_image_does(tmp_path: Path) -> None:
    """Each image shows its mask in its levels, so the moved mask can be read off the moved image; boxes surround it."""
    write_set(tmp_path, 8)
    found = by_name(tmp_path, list(range(8)), patches=2)
    for sample, item in enumerate(np.repeat(np.arange(8), 2).tolist()):
        image, mask = found["image"][sample, ..., 0].astype(int), found["mask"][sample]
        seen = mask != 255
        assert np.array_equal((image[seen] - item) // 100, mask[seen])
        assert not image[~seen].any()
        count = found["boxes_count"][sample]
        for box, label in zip(found["boxes"][sample, :count], found["boxes_label"][sample, :count], strict=True):
            rows, columns = np.nonzero(mask == label + 1)
            drawn = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert drawn == pytest.approx(box.tolist(), abs=2.5)
    assert len({array.tobytes() for array in found["boxes"]}) > 8


@pytest.mark.parametrize(("least", "labels"), [(0.0, [0, 1]), (0.3, [0, 1]), (0.31, [0]), (1.0, [0])])
def test_boxes_of_which_little_is_left_are_dropped(tmp_path: Path, least: float, labels: list[int]) -> None:
    """The 30 columns in the left hold all of the first box, and six of the 20 columns of the second."""
    write_set(tmp_path, 1)
    steps = [{"op": "pad", "padding": (0, 0, 12, 0)}, {"op": "center_crop", "size": (40, 60)}]
    steps += [{"op": "five_crop", "size": (40, 30)}]
    boxes = TARGETS["boxes"] | {"min_visibility": least}
    found = by_name(tmp_path, [0], targets={"boxes": boxes}, steps=steps, patches=5)
    assert len(labels) == found["boxes_count"][0]
    assert labels == found["boxes_label"][0, : len(labels)].tolist()
    assert [[4, 6, 20, 22], [24, 10, 30, 38]][: len(labels)] == found["boxes"][0, : len(labels)].tolist()


def test_the_same_bytes_in_tasks_of_any_size(tmp_path: Path) -> None:
    """A sample depends on its item and the epoch alone, whatever task it is made in and beside whatever failure."""
    write_set(tmp_path, 6, {2: {"boxes": [[0, 0, 90, 90, "cat"]]}})
    plan, listing = detection(tmp_path, patches=2)
    together = make(tmp_path, plan, listing, range(6), epoch=3)
    assert [2] == [failure.item for failure in together.failures]
    alone = [make(tmp_path, plan, listing, [item], epoch=3) for item in (0, 1, 3, 4, 5)]
    for field, arrays in enumerate(zip(*(outcome.arrays for outcome in alone), strict=True)):
        assert np.array_equal(np.concatenate(arrays), together.arrays[field])


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        (
            [[4, 6, 60, 22, "cat"]],
            r"box 0 = \[4, 6, 60, 22, 'cat'\]: reaches from \(4, 6\) to \(60, 22\).* 48 × 40 pix",
        ),
        ([*BOXES, [5, 5, 5, 9, "cat"]], "box 2 = .*: is empty"),
        ([[float("nan"), 0, 4, 4, "cat"]], "box 0 = .*: nan is no finite number"),
        ([[True, 0, 4, 4, "cat"]], "True is no finite number"),
        ([[0, 0, 4, 4, "cow"]], "class 'cow' is not known; classes: cat, dog"),
        ([[0, 0, 4, 4, 2]], "class 2 is not known"),
        ([[0, 0, 4, 4]], r"must be \[left, top, right, bottom, class\], 5 values"),
        ("4 6 20 22", "'4 6 20 22' is not JSON"),
        ({"x": 4}, "is no list"),
        (BOXES * 3, "6 boxes, and max_boxes = 4"),
    ],
)
def test_bad_boxes_are_quarantined(tmp_path: Path, boxes: object, reason: str) -> None:
    """The reason names the manifest, the line, the column and the value."""
    found = failure(tmp_path, {"boxes": boxes})
    assert found.startswith("list.jsonl, line 2: boxes (target boxes): ")
    assert re.search(reason, found), found


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ("none.png", "'none.png': no such file"),
        ("../0.png", r"'../0.png': the path must not have '..' in it"),
        ("", "'': the path is empty"),
        ("small.png", r"mask 'small.png': has 10 × 9 pixels \(width × height\), and its image 48 × 40"),
        ("color.png", "mask 'color.png': has mode RGB: a mask has one channel"),
        ("classes.png", "class 7 at x = 5, y = 3 is not known: classes = 3 are 0 to 2, and ignore = 255"),
        ("damaged.png", "mask 'damaged.png': not an image of PNG, BMP, TIFF"),
        ("tiles.tif", "a TIFF in tiles of 40000 × 40000 pixels"),
    ],
)
def test_bad_masks_are_quarantined(tmp_path: Path, mask: str, reason: str) -> None:
    """So are they with masks."""
    wrong = np.zeros(SIZE, np.uint8)
    wrong[3, 5] = 7
    (tmp_path / "masks").mkdir()
    for name, pixels in (("small", wrong[:9, :10]), ("color", np.stack([wrong] * 3, axis=2)), ("classes", wrong)):
        Image.fromarray(pixels).save(tmp_path / f"masks/{name}.png")
    (tmp_path / "masks/damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "masks/tiles.tif").write_bytes(tiff([0] * (48 * 40), 8, tile=(40_000, 40_000), rows=40))
    found = failure(tmp_path, {"mask": mask})
    assert found.startswith("list.jsonl, line 2: mask (target mask): ")
    assert re.search(reason, found), found
