"""Small data sets in the layouts of COCO, Pascal VOC and YOLO: images that show the boxes of `detection.BOXES`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support.imaging.detection import BOXES, SIZE

#: What `write_*` may change: text or records of some image, by its number.
Changes = dict[int, Any]
CLASSES = ("cat", "dog")
_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0]


def mask() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the class of every pixel: 1 and 2 in the boxes."""
    found = np.zeros(SIZE, np.uint8)
    for label, (left, top, right, bottom, _) in enumerate(BOXES, 1):
        found[top:bottom, left:right] = label
    return found


def write_images(folder: Path, names: Sequence[str], mode: str = "JPEG") -> None:
    """Write images of gray levels that show the boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(mask() * 100).convert("RGB").save(folder / name, mode, quality=95)


def write_coco(root: Path, count: int, changes: Changes | None = None) -> None:
    """Write `train2017/`, its annotations and captions; `changes` are laid over the first annotation of some images."""
    names = [f"{number:012}.jpg" for number in range(1, count + 1)]
    write_images(root / "train2017", names)
    images = [
        {"id": 10 + number, "file_name": name, "width": SIZE[1], "height": SIZE[0], "coco_url": ""}
        for number, name in enumerate(names)
    ]
    categories = [{"id": 17, "name": "cat", "supercategory": "animal"}, {"id": 18, "name": "dog"}]
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        for label, (left, top, right, bottom, _) in enumerate(BOXES):
            box = [left, top, right - left, bottom - top]
            polygon = [left, top, right, top, right, bottom, left, bottom]
            annotation = {"bbox": box, "area": box[2] * box[3], "iscrowd": 0, "segmentation": [polygon]}
            annotation |= {"id": 100 * number + label, "image_id": 10 + number, "category_id": 17 + label}
            annotation |= {"keypoints": [left, top, 2, right, bottom, 1], "num_keypoints": 2} if label == 0 else {}
            annotations.append(annotation | ((changes or {}).get(number, {}) if label == 0 else {}))
        crowd = {"counts": [1, 2], "size": list(SIZE)}
        annotations.append(
            {"id": 900 + number, "image_id": 10 + number, "category_id": 17, "iscrowd": 1, "segmentation": crowd}
            | {"bbox": [0, 0, 5, 5]}
        )
    (root / "annotations").mkdir()
    content = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    captions = [
        {"id": number, "image_id": 10 + number % count, "caption": f"Bild {number}, süß"} for number in range(2 * count)
    ]
    content = {"info": {}, "images": images, "annotations": captions}
    (root / "annotations/captions_train2017.json").write_text(json.dumps(content))


def write_voc(root: Path, count: int, changes: Changes | None = None) -> None:
    """Write a folder of Pascal VOC with masks; `changes` replace the objects of some images."""
    names = [f"2008_{number:06}" for number in range(count)]
    write_images(root / "JPEGImages", [f"{name}.jpg" for name in names])
    for folder in ("Annotations", "ImageSets/Main", "ImageSets/Segmentation", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(names):
        objects = "".join(
            f"<object><name>{label}</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
            f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>"
            "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
            "</object>\n"
            for left, top, right, bottom, label in BOXES
        )
        text = f"<annotation><filename>{name}.jpg</filename>\n{(changes or {}).get(number, objects)}</annotation>\n"
        (root / f"Annotations/{name}.xml").write_text(text)
        segmented = Image.fromarray(mask(), "P")
        segmented.putpalette(_PALETTE)
        segmented.save(root / f"SegmentationClass/{name}.png")
    (root / "ImageSets/Main/train.txt").write_text("".join(f"{name}\n" for name in names))
    (root / "ImageSets/Main/cat_train.txt").write_text("".join(f"{name}  1\n" for name in names))
    (root / "ImageSets/Segmentation/train.txt").write_text("".join(f"{name}\n" for name in names[:1]))


def write_yolo(root: Path, count: int, changes: Changes | None = None) -> None:
    """Write `images/` and `labels/` with a folder each for training and validation, and the file of class names.

    `changes` replace the labels of some images; None leaves the file out.
    """
    height, width = SIZE
    lines = "".join(
        f"{number} {(left + right) / 2 / width} {(top + bottom) / 2 / height} {(right - left) / width} "
        f"{(bottom - top) / height}\n"
        for number, (left, top, right, bottom, _) in enumerate(BOXES)
    )
    for part in ("train", "val"):
        names = [f"{number:03}" for number in range(count)]
        write_images(root / f"images/{part}", [f"{name}.jpg" for name in names])
        (root / f"labels/{part}").mkdir(parents=True)
        for number, name in enumerate(names):
            if (text := (changes or {}).get(number, lines)) is not None:
                (root / f"labels/{part}/{name}.txt").write_text(text)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n")
