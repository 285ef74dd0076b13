"""Plans, tasks and runs of one pipeline, and a digest of what it made."""

import hashlib
from pathlib import Path
from typing import Any

from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Stream
from penstock.protocol.spec.transform import Transform
from penstock.protocol.wire import Array
from penstock.sources.directory import DirectorySource
from penstock.worker.imaging.pipeline import Outcome, Pipeline

RESIZED = {"resize": {"height": 24, "width": 32}}
CROPPED = {"patch": {"kind": "random", "height": 20, "width": 24}, "augment": {"horizontal_flip": True}}


def make_plan(transform: dict[str, Any], patches: int = 1, seed: int = 11, **source: Any) -> StreamPlan:
    """Return a stream of one transform; `source` are fields of its source."""
    return StreamPlan(
        name="train",
        seed=seed,
        settings=Stream(
            source=DirectorySource(kind="directory", root="photos", **source),
            transform=Transform.model_validate(transform),
            patches=patches,
        ),
        items=100,
        classes=("cat", "dog"),
        fingerprint="f",
    )


def make_task(paths: list[str], epoch: int = 3, alone: int | None = None) -> Task:
    """Return a task; item numbers are far apart and labels alternate."""
    items = tuple(Item(item=1000 * place + 7, path=path, label=place % 2) for place, path in enumerate(paths))
    if alone is not None:
        items = items[alone : alone + 1]
    return Task(key=TaskKey(stream="train", ordinal=5, item_offset=alone), attempt=0, epoch=epoch, items=items)


def run(root: Path, transform: dict[str, Any], task: Task, patches: int = 1) -> Outcome:
    """Run a task in a pipeline of its own, and check what holds for every outcome."""
    plan = make_plan(transform, patches)
    outcome = Pipeline(plan, {"photos": root}).run(task)
    samples = (len(task.items) - len(outcome.failures)) * patches
    for field, array in zip(plan.schema, outcome.arrays, strict=True):
        assert (field.dtype, (samples, *field.shape)) == (array.dtype.name, array.shape), field.name
        assert array.flags.c_contiguous
    return outcome


def digest(arrays: list[Array]) -> str:
    """Return the SHA-256 of all arrays' bytes."""
    result = hashlib.sha256()
    for array in arrays:
        result.update(array.tobytes())
    return result.hexdigest()
