"""The sinks of a local stack: their names, their addresses, and which of them serves a rank."""

from pathlib import Path

import pytest

from penstock.launcher.addresses import Addresses
from penstock.launcher.local_sinks import check_sinks, sink_names, sink_of_rank, sink_settings
from penstock.launcher.service_command import settings_of_services
from penstock.protocol.errors import SpecError

TCP = Addresses("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556", "tcp://[::1]:5557")


def test_a_sink_that_is_alone_keeps_its_name_and_addresses() -> None:
    """A stack of one sink starts it as ever: without a name."""
    own = sink_settings(1, TCP, Path("/run/quarantine.jsonl"))
    assert {"sink": {"quarantine": "/run/quarantine.jsonl"}} == own
    assert ["sink"] == sink_names(1)
    assert [TCP.ventilator, TCP.results, TCP.trainers] == TCP.of_all(1)


def test_each_of_several_sinks_has_addresses_and_a_ledger_of_its_own() -> None:
    """Ports two above those of the sink before, or sockets with its number; the first has what was given."""
    folder = Addresses.in_folder(Path("/run"))
    settings = settings_of_services(TCP, {"keys": ""}, sink_settings(2, TCP, Path("/run/q.jsonl")), {"sink": {"a": 1}})
    common = {"keys": "", "ventilator": TCP.ventilator, "a": 1}
    assert (
        common
        | {
            "name": "sink-0",
            "results": TCP.results,
            "bind": TCP.trainers,
            "quarantine": "/run/q.jsonl",
        }
        == settings["sink-0"]
    )
    assert (
        common
        | {
            "name": "sink-1",
            "results": "tcp://127.0.0.1:5558",
            "bind": "tcp://[::1]:5559",
            "quarantine": "/run/q-1.jsonl",
        }
        == settings["sink-1"]
    )
    assert "ipc:///run/trainers-3.sock" == folder.of_sink(3).trainers
    assert 1 + 2 * 4 == len(folder.of_all(4))


def test_ranks_that_follow_each_other_share_a_sink() -> None:
    """Each sink serves equally many, one more or less; a single rank is served by the first."""
    assert [0, 0, 0, 0, 1, 1, 1, 1] == [sink_of_rank(rank, 8, 2) for rank in range(8)]
    assert [0, 0, 1, 1, 2] == [sink_of_rank(rank, 5, 3) for rank in range(5)]
    assert 0 == sink_of_rank(0, 1, 4)


@pytest.mark.parametrize("sinks", [0, -1, 65, 1.5, "2", True, None])
def test_what_is_no_number_of_sinks_is_refused(sinks: object) -> None:
    """With the value in the error."""
    with pytest.raises(SpecError, match=r"sinks = .*give a whole number from 1 to 64"):
        check_sinks(sinks)


def test_several_sinks_need_ports_that_are_fixed() -> None:
    """A port that the system chooses has none above it that would be free."""
    with pytest.raises(SpecError, match=r"'tcp://127.0.0.1:\*' with several sinks: give a port"):
        Addresses("ipc:///v", "tcp://127.0.0.1:*", "ipc:///t").of_all(2)
