"""COCO, Pascal VOC, YOLO and folders side by side: their items, their columns, and what is wrong with bad ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.imaging.annotated import write_coco, write_images, write_voc, write_yolo

from penstock.protocol.errors import SourceError
from penstock.protocol.spec.source import model_of
from penstock.sources.base import Listing, list_source

COCO = {"kind": "coco", "path": "annotations/instances_train2017.json", "images": "train2017"}
CAPTIONS = COCO | {"path": "annotations/captions_train2017.json"}


def listed(root: Path, fields: dict[str, Any], *columns: str) -> Listing:
    """List a source with columns."""
    source = model_of(fields).model_validate({"root": "photos"} | fields)
    return list_source(source, {"photos": str(root)}, columns)


def test_coco_joins_annotations_to_their_images(tmp_path: Path) -> None:
    """In the order of the images; crowds are left out; the image's id is its row; a field of the image is a column."""
    write_coco(tmp_path, 3)
    found = listed(tmp_path, COCO, "boxes", "keypoints", "polygons", "labels", "width")
    item = found.item(1)
    assert ("train2017/000000000002.jpg", -1, 11, 3) == (item.path, item.label, item.row, len(found))
    assert [
        [[4, 6, 16, 16, "cat", 100], [24, 10, 20, 28, "dog", 101]],
        [[4, 6, 2, 20, 22, 1]],
        [["cat", [4, 6, 20, 6, 20, 22, 4, 22]], ["dog", [24, 10, 44, 10, 44, 38, 24, 38]]],
        ["cat", "dog"],
        48,
    ] == [json.loads(cell) for cell in item.cells]
    captions = listed(tmp_path, CAPTIONS, "caption", "captions").item(1).cells
    assert ("Bild 1, süß", ["Bild 1, süß", "Bild 4, süß"]) == (captions[0], json.loads(captions[1]))


def test_coco_without_targets_is_a_list_of_images(tmp_path: Path) -> None:
    """Empty images are among them, unless they are skipped."""
    write_coco(tmp_path, 3, {1: {"image_id": 999}})
    assert () == listed(tmp_path, COCO).item(0).cells
    content = json.loads((tmp_path / COCO["path"]).read_text())
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] == 10]
    (tmp_path / COCO["path"]).write_text(json.dumps(content))
    assert [3, 1] == [len(listed(tmp_path, COCO | {"skip_empty": skip}, "boxes")) for skip in (False, True)]


def test_voc_lists_a_set_of_images(tmp_path: Path) -> None:
    """With the paths of their annotations; the set of a class has a second word in each line."""
    write_voc(tmp_path / "VOC2008", 3)
    voc = {"kind": "voc", "path": "VOC2008"}
    found = listed(tmp_path, voc, "mask", "annotation")
    assert "VOC2008/JPEGImages/2008_000001.jpg" == found.item(1).path
    assert ("VOC2008/SegmentationClass/2008_000001.png", "VOC2008/Annotations/2008_000001.xml") == found.item(1).cells
    assert [3, 1] == [
        len(listed(tmp_path, voc | {"image_set": name})) for name in ("Main/cat_train", "Segmentation/train")
    ]


def test_yolo_finds_the_labels_next_to_the_images(tmp_path: Path) -> None:
    """An image without a label file has no objects; the folder of labels follows from that of the images."""
    write_yolo(tmp_path, 3, {1: None})
    found = listed(tmp_path, {"kind": "yolo", "path": "images/train"}, "labels")
    assert ["images/train/000.jpg", "images/train/001.jpg", "images/train/002.jpg"] == [
        found.path(index) for index in range(3)
    ]
    assert ["labels/train/000.txt", "", "labels/train/002.txt"] == [found.item(index).cells[0] for index in range(3)]
    elsewhere = {"kind": "yolo", "path": "images/val", "labels": "labels/train"}
    assert ("labels/train/000.txt",) == listed(tmp_path, elsewhere, "labels").item(0).cells


def test_paired_files_have_their_names(tmp_path: Path) -> None:
    """At any depth; suffixes may differ."""
    write_images(tmp_path / "images/town", ["a.jpg", "b.jpg"])
    write_images(tmp_path / "masks/town", ["a.png"], "PNG")
    found = listed(tmp_path, {"kind": "paired", "path": "images", "paired": {"mask": "masks"}}, "mask")
    assert [("masks/town/a.png",), ("",)] == [found.item(index).cells for index in range(2)]


def test_a_split_keeps_the_columns(tmp_path: Path) -> None:
    """Both subsets together are the whole."""
    write_yolo(tmp_path, 12)
    yolo = {"kind": "yolo", "path": "images/train", "validation_split": 0.4}
    parts = [listed(tmp_path, yolo | {"subset": subset}, "labels") for subset in ("training", "validation")]
    items = [part.item(index) for part in parts for index in range(len(part))]
    assert 12 == len(items)
    assert all(item.path[7:-4] == item.cells[0][7:-4] for item in items)


@pytest.mark.parametrize(
    ("fields", "content", "message"),
    [
        (COCO, "[]", "'images' must be a list: COCO's file has images"),
        (COCO, '{"images": [', "not valid JSON"),
        (COCO, '{"images": [3], "annotations": []}', r"images\[0\] = 3: must be an object"),
        (COCO, '{"images": [{"id": null}], "annotations": []}', r"images\[0\].id = None: must be a number"),
        (
            COCO,
            '{"images": [{"id": 1, "file_name": "../a.jpg"}], "annotations": []}',
            r"images\[0\].file_name = '../a.jpg': must not have '..'",
        ),
        (COCO, '{"images": [], "annotations": []}', "lists no images"),
        (COCO | {"path": "none.json"}, "", "none.json: no such file"),
        ({"kind": "yolo", "path": "images/none"}, "", "images/none: no such folder"),
        ({"kind": "voc"}, "", "ImageSets/Main/train.txt: no such file"),
        ({"kind": "paired", "path": "images", "paired": {"mask": "masks"}}, "", "masks: no such folder"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, fields: dict[str, Any], content: str, message: str) -> None:
    """File, place and value."""
    write_images(tmp_path / "images", ["a.jpg"])
    (tmp_path / "annotations").mkdir()
    (tmp_path / COCO["path"]).write_text(content)
    columns = tuple(fields.get("paired", ()))
    with pytest.raises(SourceError, match=message):
        listed(tmp_path, fields, *columns)


def test_unknown_columns_and_double_names_are_refused(tmp_path: Path) -> None:
    """The message lists the columns that there are, or the two files."""
    write_images(tmp_path / "images", ["a.jpg"])
    write_images(tmp_path / "masks", ["a.png", "a.bmp"], "PNG")
    fields = {"kind": "paired", "path": "images", "paired": {"mask": "masks"}}
    with pytest.raises(SourceError, match="read column 'boxes', and this source of kind 'paired' has: 'mask'"):
        listed(tmp_path, fields, "boxes")
    with pytest.raises(SourceError, match=r"'masks/a\.bmp' and 'masks/a\.png' have one name but for the suffix"):
        listed(tmp_path, fields, "mask")
