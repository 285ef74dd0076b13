"""What a target means never changes: the bytes of each kind, moved by many steps, pinned across releases."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from support.imaging.detection import BOXES, TARGETS, by_name, write_set
from support.imaging.geometric import GEOMETRIC

from penstock.protocol.spec.targets.kinds import KINDS

POSE = {"kind": "keypoints", "column": "pose", "points": ["a", "b", "c"], "pairs": [["a", "b"]]}
ROW: dict[str, Any] = {
    "pose": [[[4, 5], [30, 20, 1], [20, 10]], [[1, 1, 0], [40, 30], [24, 20]]],
    "tags": ["dog"],
    "vector": [0.1, 2.5],
    "outlines": [
        ["cat", [4, 5, 30, 8, 28, 30, 16, 14, 6, 28]],
        ["dog", [30, 20, 44, 20, 37, 34], [2, 30, 9, 30, 5, 38]],
    ],
    "turned": [[10, 4, 30, 10, 26, 24, 6, 18]],
    "caption": "ein Fuß",
}
#: The beginning of the SHA-256 of the fields that each target makes, under steps of every kind of geometry.
PINNED: list[tuple[str, dict[str, Any]]] = [
    ("1c53f1be7b4dd50bd4d443a9ee328b5a", TARGETS["boxes"]),
    ("86732f0a641cad03c8a7527981d10e83", TARGETS["mask"]),
    ("ef4cd0e50aeb280c0a4ef01b4ca579a0", POSE | {"max_objects": 2}),
    ("65f306650fa61a7259b70b13774cd61a", {"kind": "labels", "column": "tags", "classes": ["cat", "dog"]}),
    ("0b012f10fa49378491534092a2c77794", {"kind": "numbers", "column": "vector", "shape": [2]}),
    ("66845f4d3a6f5b614d5fefdbabe89a29", {"kind": "text", "column": "caption", "max_bytes": 10}),
    (
        "4597dca561e68c687757e465974840dc",
        {"kind": "polygons", "column": "outlines", "classes": ["cat", "dog"], "max_points": 12},
    ),
    ("2ede1717cd5ce32782bc4452a86bd077", {"kind": "oriented_boxes", "column": "turned"}),
    ("ad34bdd23379354121d2979d28f77c98", {"kind": "image", "column": "path", "color": "gray"}),
]
STEPS = [
    *({"op": op, "p": 0.7, **GEOMETRIC[op]} for op in ("affine", "perspective", "elastic", "rotate", "pad", "resize")),
    {"op": "flip", "p": 0.5},
    {"op": "random_resized_crop", "size": (40, 44), "scale": (0.5, 1.0)},
]


@pytest.mark.parametrize(("expected", "target"), PINNED, ids=lambda value: str(value)[:30])
def test_the_bytes_of_targets_are_those_of_earlier_releases(
    expected: str, target: dict[str, Any], tmp_path: Path
) -> None:
    """Fields equal what the release that introduced the kind made."""
    write_set(tmp_path, 4, dict.fromkeys(range(4), ROW | {"boxes": BOXES}))
    found = by_name(tmp_path, range(4), targets={"t": target}, steps=STEPS, patches=3)
    digest = hashlib.sha256()
    for name, array in found.items():
        if name.startswith("t"):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    assert any(array.any() for name, array in found.items() if name.startswith("t"))
    assert expected == digest.hexdigest()[:32]


def test_every_kind_is_pinned() -> None:
    """A new kind needs a line."""
    assert KINDS.keys() == {target["kind"] for _, target in PINNED}
