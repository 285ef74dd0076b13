"""A stack for the tests with MosaicML's Composer."""

from collections.abc import Iterator
from importlib import metadata

import pytest
from support.streams import make_images, make_spec, make_stream, run_stack

from penstock.launcher.stack import LocalStack

#: Other tiers do without Composer, and leave these tests out anyway. This folder could be imported under its name.
collect_ignore_glob = [] if list(metadata.distributions(name="mosaicml")) else ["test_*.py"]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Return a stack that streams 120 JPEGs in batches of 8.

    Of those of `poor`, which come in the order of their names, the last 13 are no images.
    """
    folder = tmp_path_factory.mktemp("composer")
    spec = make_spec(make_images(folder / "photos"))
    make_images(folder / "poor")
    for number in range(47, 60):
        (folder / "poor" / "dog" / f"{number:04}.jpg").write_bytes(b"no picture at all")
    spec["roots"]["poor"] = str(folder / "poor")
    plain = make_stream(batch_size=8, patches=1)
    poor = plain | {"source": {"kind": "directory", "root": "poor"}, "shuffle": False, "mix": 1}
    poor |= {"failure_budget": 0.5}
    spec["streams"] = {"train": plain, "poor": poor}
    with run_stack(spec, workers=2) as running:
        yield running
