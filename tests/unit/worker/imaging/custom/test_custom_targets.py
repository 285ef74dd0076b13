"""A custom transform gets and returns the targets of a sample like all its fields."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.imaging.detection import NONE, TARGETS, detection, make, write_set

from penstock.protocol.errors import TransformError

CODE = '''
import numpy as np

def mirror(sample, rng):
    """Mirror the image, and its targets with it."""
    width, count = sample["image"].shape[1], sample["boxes_count"]
    sample["image"], sample["mask"] = sample["image"][:, ::-1], sample["mask"][:, ::-1]
    left, right = sample["boxes"][:count, 0].copy(), sample["boxes"][:count, 2].copy()
    sample["boxes"][:count, 0], sample["boxes"][:count, 2] = width - right, width - left
    return sample

def forget(sample, rng):
    """Return a sample without its mask."""
    del sample["mask"]
    return sample
'''


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that publishes both transforms."""
    facts = tmp_path / "packages/mirror_targets-1.0.dist-info"
    facts.mkdir(parents=True)
    (tmp_path / "packages/mirror_targets.py").write_text(CODE)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mirror-targets\nVersion: 1.0\n")
    points = "".join(f"{name}-targets = mirror_targets:{name}\n" for name in ("mirror", "forget"))
    (facts / "entry_points.txt").write_text(f"[penstock.transforms]\n{points}")
    monkeypatch.syspath_prepend(tmp_path / "packages")


def fields(root: Path, *custom: str) -> dict[str, Any]:
    """Return the fields of one image's sample, changed by custom transforms."""
    write_set(root, 1)
    plan, listing = detection(root, targets=TARGETS, steps=NONE)
    transform = plan.settings.transform.model_dump() | {"custom": [{"name": name} for name in custom]}
    settings = type(plan.settings).model_validate(plan.settings.model_dump() | {"transform": transform})
    plan = plan.model_copy(update={"settings": settings})
    outcome = make(root, plan, listing, [0])
    if outcome.failures:
        raise TransformError(outcome.failures[0].reason)
    return dict(zip((field.name for field in plan.schema), outcome.arrays, strict=True))


def test_a_custom_transform_moves_targets_with_the_image(tmp_path: Path) -> None:
    """The image still shows its mask and boxes."""
    found, plain = fields(tmp_path, "mirror-targets"), fields(tmp_path)
    assert np.array_equal(plain["mask"][:, :, ::-1], found["mask"])
    assert np.array_equal(plain["image"][:, :, ::-1], found["image"])
    assert [[28, 6, 44, 22], [4, 10, 24, 38]] == found["boxes"][0, :2].tolist()
    assert plain["boxes_label"].tolist() == found["boxes_label"].tolist()


def test_a_target_that_is_not_returned_is_named(tmp_path: Path) -> None:
    """The message lists the fields that the schema has."""
    with pytest.raises(TransformError, match=r"'forget-targets' returned the fields .*; the schema says .*, mask"):
        fields(tmp_path, "forget-targets")
