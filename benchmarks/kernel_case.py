"""What the cases of `kernels.py` are made of: a piece of work done in several ways, and our kernel for a stream."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Stream
from penstock.worker.imaging.pipeline import Pipeline

OURS = "penstock"


@dataclass(frozen=True, slots=True)
class Case:
    """One piece of work, done in several ways."""

    title: str
    #: What is counted.
    unit: str
    #: Ways to do it, by name: how many samples a call makes, and the call.
    variants: Mapping[str, tuple[int, Callable[[], object]]]
    #: (of which variant, over which variant, at least), of their rates.
    aims: tuple[tuple[str, str, float], ...]


def pipeline(transform: Mapping[str, Any], root: Path, patches: int = 1) -> Pipeline:
    """Return our kernel for a transform, reading below `root`."""
    source = {"kind": "directory", "root": "data"}
    stream = Stream.model_validate({"source": source, "transform": transform, "patches": patches})
    plan = StreamPlan(name="train", seed=1, settings=stream, items=1, classes=("one",), fingerprint="")
    return Pipeline(plan, {"data": root})


def worker(pipeline: Pipeline, items: int) -> Callable[[Task], object]:
    """Return what makes a task's samples as a worker does: in memory that is used again and again."""
    room = np.empty(pipeline.room_bytes(items), np.uint8)
    return lambda task: pipeline.make(task, pipeline.read(task), room)


def task_of(files: list[Path], root: Path, cells: list[tuple[str, ...]] | None = None, epoch: int = 0) -> Task:
    """Return a task of all files; `cells` holds each file's targets."""
    items = tuple(
        Item(item=place, path=file.relative_to(root).as_posix(), label=0, cells=cells[place] if cells else ())
        for place, file in enumerate(files)
    )
    return Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=epoch, items=items)
