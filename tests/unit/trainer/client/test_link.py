"""A feed that asks where its sink is: what goes wrong there for a moment ends nothing, and a fault is raised."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.streams import until

from penstock.protocol.errors import StackError
from penstock.protocol.messages import Intervals
from penstock.trainer.client import link as module
from penstock.trainer.client.link import Link
from penstock.trainer.client.session import SubscriptionConfig


def lost(folder: Path, monkeypatch: pytest.MonkeyPatch, find: Callable[[], str]) -> Link:
    """Return a link to a sink that is not there, and which is looked for every few tenths of a second."""
    monkeypatch.setattr(module, "Intervals", lambda: Intervals(heartbeat_s=0.1, silence_s=0.3))
    config = SubscriptionConfig("train", 0, 1, 1, "1.0")
    return Link(f"ipc://{folder}/none.sock", config, 0, "", find=find)


@pytest.mark.parametrize(
    "error", [StackError("the stack has ended"), ConnectionResetError("by peer"), OSError(5, "I/O")]
)
def test_a_sink_whose_place_is_not_known_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whoever knows it may be away as well, for as long."""
    asked: list[int] = []

    def find() -> str:
        asked.append(1)
        raise error

    link = lost(tmp_path, monkeypatch, find)
    try:
        until(lambda: len(asked) > 2, "it to be asked again")
        assert link._failed is None
    finally:
        link.close()


def test_a_fault_in_what_finds_the_sink_is_raised_where_the_program_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the program's own, and would come again each time."""

    def find() -> str:
        raise KeyError("sink")

    link = lost(tmp_path, monkeypatch, find)
    try:
        assert link.welcomed(60)
        with pytest.raises(KeyError, match="sink"):
            link.take(60)
    finally:
        link.close()
