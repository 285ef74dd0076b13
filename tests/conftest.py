"""What every test may ask for. Owns the shared fixtures and the Hypothesis profile; knows no part of Penstock."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A shared machine stalls now and then: a slow example says nothing about the code, so no example has a deadline, nor
# has their making. DERANDOMIZE lets each test draw the same examples in every run: `.ci/run` sets it, for what it says
# of a change must not depend on luck. All other runs go on looking for new ones.
settings.register_profile(
    "penstock",
    deadline=None,
    derandomize="DERANDOMIZE" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("penstock")

# A shell lets what runs in its background ignore Ctrl-C, and so would the programs that it starts: tests that
# interrupt what they have started would wait for it in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's root."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data(root: Path) -> Path:
    """Return the folder of real images next to the repository; without it, tests that need it are skipped."""
    path = root.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"NOT TESTED ON REAL IMAGES: {path} is not there (expected next to the repository)")
    return path
