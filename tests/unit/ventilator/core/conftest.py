"""The fixture of the tests of the leases core."""

from collections.abc import Iterator

import pytest
from support.cores.leases_harness import CoreHarness


@pytest.fixture
def harness() -> Iterator[CoreHarness]:
    """Return a harness with a sink and one worker of two slots; invariants are checked once more at the end."""
    harness = CoreHarness()
    harness.sink()
    harness.join(b"a")
    yield harness
    harness.leases.validate()
