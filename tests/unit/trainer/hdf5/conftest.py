"""Files that several tests read."""

from pathlib import Path

import pytest
from support.hdf5.feeds import COUNT
from support.hdf5.files import write_file


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file in chunks."""
    return write_file(tmp_path_factory.mktemp("files") / "set.h5", COUNT)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with an image for each manipulation."""
    return write_file(tmp_path_factory.mktemp("files") / "several.h5", COUNT, several=True)
