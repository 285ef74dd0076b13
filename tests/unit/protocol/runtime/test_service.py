"""Starting a service: what it takes from its environment, and leaves there."""

import os

import pytest

from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import ServiceSettings


def test_what_a_supervisor_says_of_a_service_is_not_said_of_programs_that_the_service_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service that a user's transform starts would end at once if it took the supervisor for its parent."""
    monkeypatch.setenv("PENSTOCK_PARENT", "77")
    monkeypatch.setenv("PENSTOCK_RESTARTS", "3")
    given: list[ServiceSettings] = []

    def serve(settings: ServiceSettings) -> int:
        given.append(settings)
        return 5

    assert 5 == run(ServiceSettings, serve, "worker", [])
    assert [(77, 3)] == [(settings.parent, settings.restarts) for settings in given]
    assert not {"PENSTOCK_PARENT", "PENSTOCK_RESTARTS"} & set(os.environ)
