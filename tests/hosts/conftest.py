"""What the tests of several hosts share."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hosts.cluster import Cluster
from hosts.lab import Lab, why_not
from support.streams import digest, epochs, make_images, make_spec, read_in_step, run_stack

from penstock.commands.keys import main as keys_command

#: Batches of the whole test's stream: two epochs.
BATCHES = 46
#: Batches of each of two ranks: the same two epochs.
EACH = 24
_numbers = count()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 2 × 60 JPEG files. Skips where no hosts can be made."""
    if reason := why_not():
        pytest.skip(f"NOT TESTED ON SEVERAL HOSTS: {reason}")
    return make_images(tmp_path_factory.mktemp("photos"), each=60)


@pytest.fixture(scope="session")
def reference(photos: Path) -> str:
    """Return the digest of two epochs that nothing disturbed, made on one host without keys."""
    with run_stack(make_spec(photos), workers=2) as stack:
        batches = epochs(stack.feed(), 2)
    assert BATCHES == len(batches)
    return digest(batches)


@pytest.fixture(scope="session")
def alone(photos: Path) -> list[dict[str, Any]]:
    """Return what both ranks say that have two epochs of one sink, which nothing disturbed."""
    found = read_in_step(make_spec(photos), 2, 2)
    assert [EACH, EACH] == [len(batches) for batches in found]
    return [{"batches": len(batches), "digest": digest(batches)} for batches in found]


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the stack's keys."""
    folder = tmp_path_factory.mktemp("security") / "keys"
    assert 0 == keys_command(["init", str(folder)])
    return folder


@pytest.fixture
def cluster(photos: Path, keys: Path, tmp_path: Path) -> Iterator[Cluster]:
    """Return hosts for a ventilator, a sink and a trainer; nothing runs on them yet."""
    with Lab(tmp_path, f"penstock-{os.getpid()}-{next(_numbers)}") as lab:
        yield Cluster(lab, photos, make_spec(photos), keys)
