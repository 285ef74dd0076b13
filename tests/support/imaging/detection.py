"""A small detection and segmentation set: images, masks and a manifest with boxes, made of integers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from penstock.protocol.plan import StreamPlan
from penstock.protocol.records import Task, TaskKey
from penstock.protocol.spec.spec import Stream
from penstock.protocol.wire import Array
from penstock.sources.base import Listing, list_source
from penstock.sources.manifest import ManifestSource
from penstock.worker.imaging.pipeline import Outcome, Pipeline

#: Height and width of the images.
SIZE = (40, 48)
TARGETS: dict[str, Any] = {
    "boxes": {"kind": "boxes", "column": "boxes", "classes": ("cat", "dog"), "max_boxes": 4, "min_visibility": 0.25},
    "mask": {"kind": "mask", "column": "mask", "folder": "masks", "classes": 3},
}
#: Further targets, whose columns `write_set` writes too.
MORE_TARGETS: dict[str, Any] = {
    "pose": {"kind": "keypoints", "column": "pose", "points": ("head", "tail"), "pairs": (("head", "tail"),)},
    "caption": {"kind": "text", "column": "caption", "max_bytes": 24},
}
STEPS: list[dict[str, Any]] = [
    {"op": "random_resized_crop", "size": (32, 32), "scale": (0.3, 1.0), "filter": "nearest"},
    {"op": "flip", "p": 0.5},
    {"op": "rotate", "degrees": 20},
]
#: A step that changes nothing.
NONE: list[dict[str, Any]] = [{"op": "center_crop", "size": SIZE}]
#: What each image holds: left, top, right, bottom and class of two rectangles.
BOXES: list[list[Any]] = [[4, 6, 20, 22, "cat"], [24, 10, 44, 38, "dog"]]


def write_set(root: Path, count: int, rows: dict[int, dict[str, Any]] | None = None) -> None:
    """Write images that show their boxes, masks that hold them, and `list.jsonl`; `rows` changes some of its rows."""
    (root / "masks").mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        mask = np.zeros(SIZE, np.uint8)
        for label, (left, top, right, bottom, _) in enumerate(BOXES, 1):
            mask[top:bottom, left:right] = label
        Image.fromarray(mask).save(root / f"masks/{number}.png")
        Image.fromarray(mask * 100 + number).save(root / f"{number}.png")
        row = {"path": f"{number}.png", "label": "scene", "boxes": BOXES, "mask": f"{number}.png"}
        row |= {"pose": [BOXES[0][:2], [*BOXES[0][2:4], 1]], "caption": f"Szene {number}, süß"}
        lines.append(json.dumps(row | (rows or {}).get(number, {})) + "\n")
    (root / "list.jsonl").write_text("".join(lines))


def detection(
    root: Path,
    *,
    targets: dict[str, Any] = TARGETS,
    steps: Sequence[dict[str, Any]] = STEPS,
    patches: int = 1,
    views: dict[str, Any] | None = None,
) -> tuple[StreamPlan, Listing]:
    """Return the plan and the listing of a stream of such a set."""
    source = ManifestSource(kind="manifest", root="photos", path="list.jsonl")
    transform = {"color": "gray", "steps": list(steps), "views": views or {}}
    stream = Stream.model_validate(
        {"source": source, "transform": transform, "targets": targets, "patches": patches, "batch_size": 2}
    )
    listing = list_source(source, {"photos": str(root)}, stream.target_columns)
    plan = StreamPlan(
        name="train", seed=5, settings=stream, items=len(listing), classes=listing.classes, fingerprint="f"
    )
    return plan, listing


def make(root: Path, plan: StreamPlan, listing: Listing, items: Sequence[int], epoch: int = 0) -> Outcome:
    """Return the samples of some items, made as one task."""
    task = Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=epoch, items=tuple(map(listing.item, items)))
    return Pipeline(plan, {"photos": str(root)}).run(task)


def by_name(root: Path, items: Sequence[int], **settings: Any) -> dict[str, Array]:
    """Return the fields of some items' samples, none of which may fail."""
    plan, listing = detection(root, **settings)
    outcome = make(root, plan, listing, items)
    assert () == outcome.failures
    return dict(zip((field.name for field in plan.schema), outcome.arrays, strict=True))


def failure(
    root: Path, row: dict[str, Any], targets: dict[str, Any] = TARGETS, others: dict[str, Any] | None = None
) -> str:
    """Return why the second of three items fails, the others, whose rows have `others`, being made."""
    rows = {number: dict(others or {}) for number in range(3)}
    write_set(root, 3, rows | {1: rows[1] | row})
    plan, listing = detection(root, targets=targets)
    outcome = make(root, plan, listing, range(3))
    assert [0, 2] == outcome.arrays[2].tolist()
    assert ["1.png"] == [failed.path for failed in outcome.failures]
    return outcome.failures[0].reason
