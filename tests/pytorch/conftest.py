"""A stack for the tests of the PyTorch and JAX adapters."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.streams import make_images, make_spec, make_stream, run_stack

from penstock.launcher.stack import LocalStack

#: Other tiers do without PyTorch and JAX, and leave these tests out anyway.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py", "*/test_*.py"]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 120 JPEGs in two classes; one of them is no image."""
    root = make_images(tmp_path_factory.mktemp("torch") / "photos")
    (root / "dog" / "0007.jpg").write_bytes(b"no picture at all")
    return root


@pytest.fixture(scope="module")
def stack(photos: Path) -> Iterator[LocalStack]:
    """Return a stack that streams them in batches of 8."""
    plain = make_stream(batch_size=8, patches=1)
    spec = make_spec(photos, train=plain, full=plain | {"drop_remainder": True})
    with run_stack(spec, workers=2) as running:
        yield running
