"""Today's training recipes for `kernels.py`, beside torchvision, Albumentations and hand-written loops.

These need the environment that `make bench-kernels` makes. Every library has one thread, and puts batches together in
memory that is used again. Both sides read the same files, which are in the page cache, and leave uint8 pixels of the
same size; what differs is said at each case. Random numbers are each library's own, of the same distributions.
"""

import importlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from kernel_case import OURS, Case, pipeline, task_of, worker
from PIL import Image

from penstock.protocol.messages import Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.operation_table import step_models
from penstock.protocol.spec.spec import Stream
from penstock.sources.base import Loaded, list_source
from penstock.worker.imaging.decode import Pixels
from penstock.worker.imaging.pipeline import Pipeline

_SIDE = 224
_JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
_CROP = {"op": "random_resized_crop", "size": _SIDE}
_FLIP = {"op": "flip", "p": 0.5}
_MEAN = [124, 116, 104]
_HALF = 0.5
_SCALED = "penstock, dct_scaling"


def imagenet(data: Path, made: Path) -> Case:
    """Make 224 × 224 of JPEGs of 500 × 400: random part, mirrored, colours, a rectangle erased.

    The hand-written loop resizes by OpenCV without antialias; torchvision on PIL images and ours widen the filter with
    the reduction.
    """
    files = photos(data / "cats-dogs", made / "imagenet", (500, 400), 128)
    steps = [_CROP, _FLIP, {"op": "color_jitter", **_JITTER}, {"op": "random_erasing", "p": 0.25, "value": _MEAN}]
    ours, task = worker(pipeline({"steps": steps}, made), len(files)), task_of(files, made)
    torch, v2, _ = _torch()
    jitter, erasing = v2.ColorJitter(**_JITTER), v2.RandomErasing(0.25, value=_MEAN)
    moves = v2.Compose([v2.RandomResizedCrop(_SIDE), v2.RandomHorizontalFlip()])
    rng, window = np.random.default_rng(1), _windows()

    room = torch.empty((len(files), 3, _SIDE, _SIDE), dtype=torch.uint8)

    def by_hand() -> object:
        return torch.stack([one_by_hand(file.read_bytes()) for file in files], out=room)

    def one_by_hand(content: bytes) -> object:
        pixels: Any = simplejpeg.decode_jpeg(content)
        part = cv2.resize(window(pixels), (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
        if rng.random() < _HALF:
            part = cv2.flip(part, 1)
        return erasing(jitter(torch.from_numpy(part).permute(2, 0, 1)))

    def on_pil() -> object:
        return torch.stack([one_on_pil(file.read_bytes()) for file in files], out=room)

    def one_on_pil(content: bytes) -> object:
        image = jitter(moves(Image.open(io.BytesIO(content)).convert("RGB")))
        return erasing(v2.functional.pil_to_tensor(image))

    return Case(
        "imagenet-train: 500×400 JPEGs, random_resized_crop 224, flip, color_jitter, random_erasing",
        "images",
        {
            OURS: (len(files), lambda: ours(task)),
            "simplejpeg, OpenCV, torchvision on tensors": (len(files), by_hand),
            "torchvision on PIL": (len(files), on_pil),
        },
        ((OURS, "simplejpeg, OpenCV, torchvision on tensors", 1.5), (OURS, "torchvision on PIL", 2.5)),
    )


def rand_augment(data: Path, made: Path) -> Case:
    """RandAugment alone, of decoded images of 224 × 224: each side begins and ends with its own kind of image."""
    files = photos(data / "cats-dogs", made / "squares", (_SIDE, _SIDE), 256)
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    steps = [{"op": "resize", "size": _SIDE}, {"op": "rand_augment"}]  # the first has nothing to do
    ours, count = pipeline({"steps": steps}, made), len(files)
    room = np.empty(ours.room_bytes(count), np.uint8)
    loaded = Loaded(np.arange(count), np.zeros(count, np.int32), [""] * count, images)
    task = Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=0, items=())
    policy = _torch()[1].RandAugment()
    pictures = [Image.fromarray(image) for image in images]
    return Case(
        "RandAugment of 224×224 images in memory",
        "images",
        {
            OURS: (count, lambda: ours.make(task, loaded, room)),
            "torchvision on PIL": (count, lambda: [policy(picture) for picture in pictures]),
        },
        ((OURS, "torchvision on PIL", 2.0),),
    )


def large_photos(data: Path, made: Path) -> Case:
    """Take a random part of a photo of 6 to 16 megapixels, to 224 × 224, beside decoding all of it first.

    The first resizes to the pixels of the third; the second decodes at a fraction of the size.
    """
    del made
    root = data / "camera"
    files = sorted(root.glob("*.jpg"))
    ours = worker(pipeline({"steps": [_CROP]}, root), len(files))
    scaled = worker(pipeline({"steps": [_CROP | {"dct_scaling": True}]}, root), len(files))
    epochs, window = (iter(range(1, 1_000_000)), iter(range(1, 1_000_000))), _windows()

    def whole(resize: Callable[[Pixels], object]) -> Callable[[], object]:
        return lambda: [resize(window(simplejpeg.decode_jpeg(file.read_bytes()))) for file in files]

    def by_pillow(part: Pixels) -> object:
        return np.asarray(Image.fromarray(part).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))

    def by_opencv(part: Pixels) -> object:
        return cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)

    return Case(
        "random_resized_crop 224 from photos of 6 to 16 megapixels",
        "images",
        {
            OURS: (len(files), lambda: ours(task_of(files, root, epoch=next(epochs[0])))),
            _SCALED: (len(files), lambda: scaled(task_of(files, root, epoch=next(epochs[1])))),
            "simplejpeg, all of it, Pillow": (len(files), whole(by_pillow)),
            "simplejpeg, all of it, OpenCV": (len(files), whole(by_opencv)),
        },
        ((OURS, "simplejpeg, all of it, Pillow", 3.0), (_SCALED, "simplejpeg, all of it, Pillow", 3.0)),
    )


def detection(data: Path, made: Path) -> Case:
    """Bring images of COCO's usual size with seven boxes each to a letterbox of 640 × 640."""
    return _detection(data, made, (640, 480), [])


def detection_large(data: Path, made: Path) -> Case:
    """Do the same with images of 1024 × 768, as Open Images has them, which have to be reduced."""
    return _detection(data, made, (1024, 768), [])


def detection_colors(data: Path, made: Path) -> Case:
    """Mirror images of 640 × 480 and change their colours before: the recipe `coco-detection`."""
    jitter = {"brightness": [0.875, 1.125], "contrast": [0.5, 1.5], "saturation": [0.5, 1.5], "hue": [-0.05, 0.05]}
    return _detection(data, made, (640, 480), [_FLIP, {"op": "color_jitter", "p": 0.5, **jitter}])


def _detection(data: Path, made: Path, size: tuple[int, int], before: list[dict[str, Any]]) -> Case:
    """Albumentations reduces without antialias, by OpenCV; its colours are rounded otherwise than Pillow's.

    It does not decode: its users read files by OpenCV, whose decoder takes nearly twice as long as simplejpeg's here.
    The second pair begins with decoded images.
    """
    side, root = 640, made / f"detection-{size[0]}"
    files = photos(data / "cats-dogs", root, size, 96)
    boxes = [_boxes(number, size) for number in range(len(files))]
    kernel, task = _with_boxes(root, files, boxes, [*before, {"op": "letterbox", "size": side}])
    ours, room = worker(kernel, len(files)), np.empty((len(files), side, side, 3), np.uint8)
    albumentations: Any = importlib.import_module("albumentations")
    changes = []
    for step in before:
        ranges = {name: tuple(value) for name, value in step.items() if name not in ("op", "p")}
        kind = albumentations.HorizontalFlip if step["op"] == "flip" else albumentations.ColorJitter
        changes.append(kind(p=step["p"], **ranges))
    theirs = albumentations.Compose(
        [
            *changes,
            albumentations.LongestMaxSize(side),
            albumentations.PadIfNeeded(side, side, border_mode=cv2.BORDER_CONSTANT, fill=114),
        ],
        bbox_params=albumentations.BboxParams("pascal_voc", label_fields=["labels"]),
    )
    labels, count = np.zeros(len(boxes[0]), np.int64), len(files)

    def by_albumentations(images: Iterable[Any]) -> object:
        samples = [theirs(image=image, bboxes=found, labels=labels) for image, found in zip(images, boxes, strict=True)]
        return np.stack([sample["image"] for sample in samples], out=room)

    def of_files() -> object:
        return by_albumentations(cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in files)

    decoded = np.stack([np.asarray(Image.open(file)) for file in files])
    loaded = Loaded(np.arange(count), np.zeros(count, np.int32), [""] * count, decoded)
    own_room = np.empty(kernel.room_bytes(count), np.uint8)

    others = ", ".join(step["op"] for step in before)
    return Case(
        f"{size[0]}×{size[1]} JPEGs with 7 boxes: {others + ', ' if others else ''}letterbox 640",
        "images",
        {
            OURS: (count, lambda: ours(task)),
            "Albumentations": (count, of_files),
            f"{OURS}, decoded": (count, lambda: kernel.make(task, loaded, own_room)),
            "Albumentations, decoded": (count, lambda: by_albumentations(decoded)),
        },
        ((OURS, "Albumentations", 2.0), (f"{OURS}, decoded", "Albumentations, decoded", 2.0)),
    )


def _with_boxes(
    root: Path, files: list[Path], boxes: Sequence[Any], steps: list[dict[str, Any]]
) -> tuple[Pipeline, Task]:
    """Return our kernel for a manifest of images with boxes, and a task of all of them."""
    rows = [
        json.dumps({"path": file.relative_to(root).as_posix(), "label": "all", "boxes": found.tolist()})
        for file, found in zip(files, boxes, strict=True)
    ]
    (root / "list.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    stream = Stream.model_validate(
        {
            "source": {"kind": "manifest", "root": "data", "path": "list.jsonl"},
            "transform": {"steps": steps},
            "targets": {"boxes": {"kind": "boxes", "column": "boxes", "max_boxes": 100}},
        }
    )
    listing = list_source(stream.source, {"data": str(root)}, stream.target_columns)
    plan = StreamPlan(
        name="train", seed=1, settings=stream, items=len(listing), classes=listing.classes, fingerprint=""
    )
    items = tuple(listing.item(number) for number in range(len(listing)))
    task = Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=0, items=items)
    return Pipeline(plan, {"data": root}), task


def _boxes(seed: int, size: tuple[int, int]) -> Any:  # noqa: ANN401 - an array
    """Return seven boxes, as many as an image of COCO has: left, top, right, bottom."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0.0, 0.7, (7, 2))
    end = start + rng.uniform(0.05, 0.3, (7, 2))
    return np.concatenate([start, end], axis=1) * np.array([*size, *size])


def photos(source: Path, folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Write photos of one size (width, height), made of others, at a JPEG quality of 90; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(sorted(source.glob("*/*.jpg"))[:count]):
        with Image.open(path) as image:
            resized = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
            resized.save(folder / f"{number:04}.jpg", "JPEG", quality=90)
    return sorted(folder.glob("*.jpg"))


def _windows() -> Callable[[Pixels], Pixels]:
    """Return what cuts the part of a random resized crop out of an image, drawn like our step's."""
    rng = np.random.default_rng(2)
    step: Any = step_models()["random_resized_crop"].model_validate(_CROP)

    def window(pixels: Pixels) -> Pixels:
        part = step.window(pixels.shape[:2], rng.random(step.uniforms).tolist())
        found: Pixels = part.of(pixels)
        return found

    return window


@lru_cache(maxsize=1)
def _torch() -> tuple[Any, Any, Any]:
    """Return torch, with one thread, torchvision's transforms, and what must live as long as they."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Beside the CPU build of torch, torchvision cannot load its compiled operators; the transforms use none of them,
    # but its import wants to know of two.
    library: Any = importlib.import_module("torch.library").Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return torch, importlib.import_module("torchvision.transforms.v2"), library
