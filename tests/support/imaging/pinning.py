"""Digests of a transform's samples and settings, which tests pin."""

import hashlib
import json
from pathlib import Path
from typing import Any

from support.images import encode, picture

from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Stream
from penstock.protocol.spec.transform import Transform
from penstock.sources.directory import DirectorySource
from penstock.worker.imaging.pipeline import Pipeline


def digests(root: Path, transform: dict[str, Any], patches: int) -> tuple[str, str]:
    """Return the two digests of a transform over five pictures of several sizes."""
    settings = Stream(
        source=DirectorySource(kind="directory", root="photos"),
        transform=Transform.model_validate(transform),
        patches=patches,
    )
    plan = StreamPlan(name="train", seed=11, settings=settings, items=100, classes=("cat", "dog"), fingerprint="f")
    paths = [f"{place}{suffix}" for place, suffix in enumerate((".png", ".jpg", ".png", ".jpg", ".png"))]
    for place, path in enumerate(paths):
        pixels = picture(place, place % 3, 60 + 7 * place, 80 - 5 * place)
        (root / path).write_bytes(encode(pixels, "PNG" if path.endswith("png") else "JPEG"))
    items = tuple(Item(item=1000 * place + 7, path=path, label=place % 2) for place, path in enumerate(paths))
    task = Task(key=TaskKey(stream="train", ordinal=5), attempt=0, epoch=3, items=items)
    outcome = Pipeline(plan, {"photos": root}).run(task)
    assert outcome.failures == ()
    samples = hashlib.sha256()
    for array in outcome.arrays:
        samples.update(array.tobytes())
    dumped = settings.model_dump(mode="json", include={"transform"}, exclude={"transform": {"max_megapixels"}})
    text = json.dumps(dumped, sort_keys=True, separators=(",", ":"))
    return samples.hexdigest()[:32], hashlib.sha256(text.encode()).hexdigest()[:32]
