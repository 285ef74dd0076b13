"""Pictures of two classes, and a check for processes that a test leaves behind."""

import gc
from pathlib import Path
from typing import Any

import pytest
from support.images import write_images
from support.streams import services, until


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `train` and `validation`, two classes each."""
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder / "train", ("cat", "dog"), 22)
    write_images(folder / "validation", ("cat", "dog"), 11, seed=1)
    return folder


@pytest.fixture
def nothing_is_left_over() -> Any:
    """Check that a test leaves no process behind."""
    before = set(services())
    yield
    gc.collect()
    until(lambda: not set(services()) - before, "the worker processes to be gone")
