"""What the tests of real processes share."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.streams import held_ports, make_images, make_spec


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 2 × 30 JPEG files."""
    return make_images(tmp_path_factory.mktemp("photos"), each=30)


@pytest.fixture(scope="module")
def spec_file(photos: Path) -> str:
    """Return a spec's file next to the images."""
    path = photos / "spec.json"
    path.write_text(json.dumps(make_spec(photos)))
    return str(path)


@pytest.fixture
def free_ports() -> Iterator[list[int]]:
    """Return three TCP ports that no other process gets while the test runs."""
    with held_ports(3) as ports:
        yield ports
