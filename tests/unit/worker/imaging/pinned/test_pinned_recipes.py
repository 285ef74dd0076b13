"""What a recipe's name stands for never changes: the bytes of each, pinned across releases."""

from pathlib import Path
from typing import get_args

import pytest
from support.imaging.pinning import digests

from penstock.protocol.spec.sequences.recipe import RecipeName

#: The beginning of the SHA-256 of the samples that each recipe makes, of 28 × 28 pixels.
PINNED: dict[str, str] = {
    "imagenet-train": "a3ad68d7d87147b5fc9e9da009c395b2",
    "imagenet-eval": "c8e3dac9e991fd2857d8906128517932",
    "cifar-train": "3ca736456e51109e358f4bf65661218f",
    "simclr": "8dadd7f498a066a98c522543fb4317c1",
    "dino": "f2eaf8a135e989a5d8091aeab6e274b5",
    "timm-a1": "2edb0d7000515d4e7995d6677893a2bf",
    "coco-detection": "17f70b1a0d27ca486d836f8e40c53be9",
    "segmentation": "ad8aec513116c85c4e0c9b31ec4c1588",
    "keras-imagedatagenerator": "ac74df38b5f9d092893771c40053ddbc",
}


@pytest.mark.parametrize("recipe", PINNED)
def test_the_bytes_of_a_recipe_are_those_of_earlier_releases(recipe: str, tmp_path: Path) -> None:
    """Samples equal what the release that introduced it made."""
    patches = 1 if recipe == "keras-imagedatagenerator" else 2
    assert PINNED[recipe] == digests(tmp_path, {"recipe": {"name": recipe, "size": 28}}, patches)[0]


def test_every_recipe_is_pinned() -> None:
    """A new recipe needs a line."""
    assert set(get_args(RecipeName)) == PINNED.keys()
