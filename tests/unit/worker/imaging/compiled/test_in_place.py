"""Samples that are changed where they lie have the bytes of those that are made without the compiled loops."""

from pathlib import Path
from typing import Any

import pytest
from support.images import encode, picture

from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Stream
from penstock.protocol.spec.transform import Transform
from penstock.sources.directory import DirectorySource
from penstock.worker.imaging.compiled import loops
from penstock.worker.imaging.pipeline import Pipeline

pytestmark = pytest.mark.skipif(
    loops.COLORS is None or loops.RESAMPLING is None, reason="the compiled loops were not built here"
)
FRAMED: list[list[dict[str, Any]]] = [
    [{"op": "center_crop", "size": [40, 64]}, {"op": "resize", "size": [64, 64]}],
    [{"op": "resize", "size": [40, 64]}, {"op": "pad", "padding": [0, 12, 0, 12]}],
    [{"op": "random_resized_crop", "size": [64, 64], "scale": [0.5, 1.0], "ratio": [0.9, 1.1]}],
    [{"op": "rotate", "degrees": [-20, 20]}, {"op": "flip"}],
    [{"op": "color_jitter", "brightness": 0.4, "hue": 0.1}, {"op": "sharpness", "factor": [1.7, 1.7]}],
]


@pytest.mark.parametrize("steps", FRAMED, ids=lambda steps: steps[0]["op"])
def test_samples_that_are_changed_in_their_place_are_those_without_the_loops(
    steps: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `resize`, steps that keep the sample's size read and write the same memory: no loop may notice."""
    (tmp_path / "a.jpg").write_bytes(encode(picture(5, 1, 90, 120)))
    transform = {"resize": [64, 64], "steps": steps}
    source = DirectorySource(kind="directory", root="photos")
    stream = Stream(source=source, transform=Transform.model_validate(transform))
    plan = StreamPlan(name="train", seed=3, settings=stream, items=100, classes=("a",), fingerprint="f")
    items = tuple(Item(item=item, path="a.jpg", label=0) for item in range(60))
    task = Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=0, items=items)

    def made() -> bytes:
        return Pipeline(plan, {"photos": tmp_path}).run(task).arrays[0].tobytes()

    found = made()
    monkeypatch.setattr(loops, "AREA", None)
    monkeypatch.setattr(loops, "RESAMPLING", None)
    monkeypatch.setattr(loops, "COLORS", None)
    assert made() == found
