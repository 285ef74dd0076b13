"""Recognises annotated data sets: the layouts of COCO, Pascal VOC and YOLO, and folders of masks next to images.

`penstock init` and `penstock.images` ask it for the sources and targets of a folder; it starts nothing.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from penstock.launcher.annotations.class_names import yolo_names
from penstock.protocol.errors import ItemError, SpecError
from penstock.worker.imaging.targets.annotation_files import voc_objects

#: Room for boxes in a sample, unless an image has more.
_MAX_BOXES = 100
#: Masks that are read to count classes, and the class that is none of them.
_MASKS, _IGNORE = 500, 255
#: How names of folders and files begin, by the stream that they are for.
_PARTS = {"train": ("train",), "validation": ("val", "held-out")}


@dataclass(frozen=True, slots=True)
class Annotated:
    """What a folder holds."""

    recipe: str
    #: The source of each stream, without its root.
    sources: dict[str, dict[str, Any]]
    targets: dict[str, dict[str, Any]]

    @property
    def class_count(self) -> int:
        """Number of classes of the boxes or masks."""
        [target] = self.targets.values()
        classes = target["classes"]
        return classes if isinstance(classes, int) else len(classes)


def recognised(place: Path, recipe: str | None = None) -> Annotated | None:
    """Return what a folder holds, for a recipe if one is given; None if it is in no known layout.

    Raises SpecError if it is in one, and its class names or annotations cannot be read.
    """
    for layout in (_coco, _voc, _yolo, _paired):
        for found in layout(place):
            if recipe in (None, found.recipe):
                return found
    return None


def detection(
    sources: dict[str, dict[str, Any]], boxes: dict[str, Any], classes: Sequence[str], most: int
) -> Annotated:
    """Return a data set of boxes."""
    target = {"kind": "boxes", **boxes, "classes": list(classes), "max_boxes": max(_MAX_BOXES, most)}
    return Annotated("coco-detection", sources, {"boxes": target})


def segmentation(
    sources: dict[str, dict[str, Any]], masks: Sequence[Path], *, column: str = "mask", folder: str = ""
) -> Annotated:
    """Return a data set of masks, some of which are read to count the classes."""
    target = {"kind": "mask", "column": column, "classes": _mask_classes(masks), "ignore": _IGNORE}
    return Annotated("segmentation", sources, {"mask": target | ({"folder": folder} if folder else {})})


def _by_stream(names: Iterable[str]) -> dict[str, str]:
    """Return the name for each stream, such as train2017 and val2017: of several for one, the last."""
    return {stream: name for name in sorted(names) for stream, starts in _PARTS.items() if name.startswith(starts)}


def _coco(place: Path) -> Iterator[Annotated]:
    files = {
        name: path.relative_to(place).as_posix()
        for path in place.glob("annotations/instances_*.json")
        if (name := path.stem.removeprefix("instances_"))
    } or {path.parent.name: path.relative_to(place).as_posix() for path in place.glob("*/_annotations.coco.json")}
    parts = _by_stream(files)
    if "train" not in parts:
        return
    sources = {}
    for stream, name in parts.items():
        images = next((each for each in (name, f"images/{name}", "images") if (place / each).is_dir()), "")
        sources[stream] = {"kind": "coco", "path": files[name], "images": images}
    file = place / sources["train"]["path"]
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        classes = [str(each["name"]) for each in sorted(content["categories"], key=lambda each: int(each["id"]))]
        counts = Counter(each["image_id"] for each in content["annotations"] if not each.get("iscrowd"))
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise SpecError(
            f"{file}: not COCO's annotations, with images, annotations and categories: {type(error).__name__}: {error}"
        ) from error
    yield detection(sources, {"column": "boxes", "format": "xywh"}, classes, max(counts.values(), default=0))


def _voc(place: Path) -> Iterator[Annotated]:
    for top in (place, *sorted(place.glob("VOC20*")), *sorted(place.glob("VOCdevkit/VOC20*"))):
        if not (top / "JPEGImages").is_dir():
            continue
        path = "" if top == place else top.relative_to(place).as_posix()
        if (top / "Annotations").is_dir() and (sources := _voc_sets(top, path, "Main")):
            classes, most = _voc_facts([top / f"Annotations/{name}.xml" for name in _listed(top, sources)])
            yield detection(sources, {"column": "annotation", "format": "voc"}, classes, most)
        if (top / "SegmentationClass").is_dir() and (sources := _voc_sets(top, path, "Segmentation")):
            yield segmentation(sources, [top / f"SegmentationClass/{name}.png" for name in _listed(top, sources)])


def _voc_sets(top: Path, path: str, folder: str) -> dict[str, dict[str, Any]]:
    sets = {name for name in ("train", "val") if (top / f"ImageSets/{folder}/{name}.txt").is_file()}
    return {
        stream: {"kind": "voc", "path": path, "image_set": f"{folder}/{name}"}
        for stream, name in _by_stream(sets).items()
        if "train" in sets
    }


def _listed(top: Path, sources: dict[str, dict[str, Any]]) -> list[str]:
    lines = (top / f"ImageSets/{sources['train']['image_set']}.txt").read_text(encoding="utf-8-sig").splitlines()
    return [line.split()[0] for line in lines if line.split()]


def _voc_facts(files: Iterable[Path]) -> tuple[list[str], int]:
    """Return the names of the classes, sorted, and the most objects of an image; bad files are the stream's matter."""
    classes: set[str] = set()
    most = 0
    for file in files:
        try:
            names = [value[-1] for _, value in voc_objects(file.read_bytes())]
        except (ItemError, OSError):
            continue
        classes.update(names)
        most = max(most, len(names))
    return sorted(classes), most


def _yolo(place: Path) -> Iterator[Annotated]:
    pairs = {
        name: (f"images/{name}", f"labels/{name}")
        for name in _folders(place / "images")
        if (place / "labels" / name).is_dir()
    }
    pairs |= {
        name: (f"{name}/images", f"{name}/labels")
        for name in _folders(place)
        if (place / name / "images").is_dir() and (place / name / "labels").is_dir()
    }
    parts = _by_stream(pairs)
    if "train" not in parts and _holds(place / "labels", ".txt") and (place / "images").is_dir():
        pairs, parts = {"train": ("images", "labels")}, {"train": "train"}
    if "train" not in parts:
        return
    labels = place / pairs[parts["train"]][1]
    if not _holds(labels, ".txt"):
        return
    sources = {stream: {"kind": "yolo", "path": pairs[name][0]} for stream, name in parts.items()}
    lines = [file.read_text(encoding="utf-8-sig", errors="replace").split("\n") for file in labels.rglob("*.txt")]
    most = max(sum(bool(line.strip()) for line in each) for each in lines)
    yield detection(sources, {"column": "labels", "format": "yolo"}, yolo_names(place, labels), most)


def _paired(place: Path) -> Iterator[Annotated]:
    images, masks = place / "images", place / "masks"
    if not images.is_dir() or not masks.is_dir():
        return
    parts = _by_stream(name for name in _folders(images) if (masks / name).is_dir())
    paths = {stream: f"/{name}" for stream, name in parts.items()} if "train" in parts else {"train": ""}
    sources = {
        stream: {"kind": "paired", "path": f"images{path}", "paired": {"mask": f"masks{path}"}}
        for stream, path in paths.items()
    }
    found = sorted(path for path in (place / f"masks{paths['train']}").rglob("*") if path.is_file())
    if found:
        yield segmentation(sources, found)


def _folders(place: Path) -> list[str]:
    return [each.name for each in place.iterdir() if each.is_dir()] if place.is_dir() else []


def _holds(place: Path, suffix: str) -> bool:
    return place.is_dir() and any(place.rglob(f"*{suffix}"))


def _mask_classes(files: Sequence[Path]) -> int:
    """Return the number of classes in some of the masks; what cannot be read is the stream's matter."""
    highest = 0
    for at in np.unique(np.linspace(0, len(files) - 1, _MASKS).astype(int)).tolist():
        try:
            with Image.open(files[at]) as image:
                levels = np.asarray(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        if levels.ndim == 2 and levels.dtype.name in ("uint8", "bool"):  # noqa: PLR2004 - one channel
            highest = max(highest, int(levels[levels != _IGNORE].max(initial=0)))
    return highest + 1
