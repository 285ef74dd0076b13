"""Settings of streams over few, small images, for tests that train on them."""

from typing import Any

#: 40 images, in batches of 16: 3 batches, the last of 8.
ITEMS = 40
BATCH = 16

SMALL: dict[str, Any] = {
    "transform": {"resize": {"height": 8, "width": 12}},
    "patches": 1,
    "mix": 1,
    "task_items": 4,
    "batch_size": BATCH,
}

#: Two that need no larger image.
MANIPULATIONS: dict[str, Any] = {"choices": [{"kind": "jpeg", "value": 10}, {"kind": "resize", "value": 2.0}]}
