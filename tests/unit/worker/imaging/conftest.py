"""A folder of small lossless pictures."""

from pathlib import Path

import pytest
from support.images import write_images


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with eight small PNG files: lossless, so that no decoder's version matters."""
    root = tmp_path_factory.mktemp("photos")
    write_images(root, ("cat", "dog"), 4, suffix=".png")
    return root


@pytest.fixture
def paths(photos: Path) -> list[str]:
    """Return the files below `photos`."""
    return sorted(path.relative_to(photos).as_posix() for path in photos.glob("*/*"))
