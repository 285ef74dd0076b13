"""What the tests of real processes share."""

from collections.abc import Iterator

import pytest
from support.streams import held_ports


@pytest.fixture
def free_ports() -> Iterator[list[int]]:
    """Return three TCP ports that no other process gets while the test runs."""
    with held_ports(3) as ports:
        yield ports
