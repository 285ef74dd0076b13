"""The services as a user starts them: commands, settings, health, errors in words, and a clean end."""

import json
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.services.running import FAST, PENSTOCK, ask, refused, running, said
from support.streams import DEADLINE_S, digest, epochs, make_spec, run_stack, take, until

import penstock
from penstock.protocol.runtime.health import fetch, query
from penstock.protocol.runtime.settings import parse
from penstock.sink.settings import SinkSettings
from penstock.ventilator.settings import VentilatorSettings

pytestmark = pytest.mark.integration


BUSY_VENTILATOR = """
import sys, time
from penstock.protocol.runtime.health import Health
from penstock.ventilator.service import main
serve = Health.serve
def later(*arguments, **options):
    time.sleep(0.5)
    serve(*arguments, **options)
Health.serve = later
sys.exit(main(sys.argv[1:]))
"""


def test_a_ventilator_is_not_ready_before_its_pages_are_there(spec_file: str, tmp_path: Path) -> None:
    """Who waited for it asks them at once."""
    health = str(tmp_path / "health")
    flags = ["--spec", spec_file, "--bind", f"ipc://{tmp_path / 'socket'}", "--health", health]
    with running([sys.executable, "-c", BUSY_VENTILATOR, *flags]):
        until(lambda: query(health).get("ready"), "it to be ready")
        assert "application/json" == fetch(health, "/status", DEADLINE_S)[0]
        assert b"penstock_" in fetch(health, "/metrics", DEADLINE_S)[1]


def test_three_terminals_make_a_stack(photos: Path, spec_file: str, free_ports: list[int]) -> None:
    """By the command and by `python -m`, over TCP, started in the wrong order; the bytes are those of any stack."""
    ventilator, results, trainers = (f"tcp://127.0.0.1:{port}" for port in free_ports)
    with (
        running(
            [sys.executable, "-m", "penstock.worker", "--ventilator", ventilator, *FAST],
            [PENSTOCK, "sink", "--ventilator", ventilator, "--results", results, "--bind", trainers, *FAST],
            [PENSTOCK, "ventilator", "--spec", spec_file, "--bind", ventilator, *FAST],
        ) as processes,
        penstock.connect(trainers) as feed,
    ):
        got = epochs(feed, 1)
        for process in processes:
            process.terminate()
        assert [0, 0, 0] == [process.wait(DEADLINE_S) for process in processes]
        for process, name in zip(processes, ("worker", "sink", "ventilator"), strict=True):
            lines = [json.loads(line) for line in said(process).splitlines()]
            assert {name} == {line["service"] for line in lines}, "not on a terminal, every line is JSON and has a name"
    with run_stack(make_spec(photos), workers=1) as stack:
        assert digest(epochs(stack.feed(), 1)) == digest(got)


def test_a_worker_whose_sink_is_gone_leaves_when_told_to(spec_file: str, free_ports: list[int]) -> None:
    """It does not wait for its whole drain: what it has made will be made again."""
    ventilator, results, trainers = (f"tcp://127.0.0.1:{port}" for port in free_ports)
    with (
        running(
            [PENSTOCK, "ventilator", "--spec", spec_file, "--bind", ventilator, *FAST],
            [PENSTOCK, "sink", "--ventilator", ventilator, "--results", results, "--bind", trainers, *FAST],
            [sys.executable, "-m", "penstock.worker", "--ventilator", ventilator, "--drain-s", "600", *FAST],
        ) as (_, sink, worker),
        penstock.connect(trainers) as feed,
    ):
        take(feed, 1)
        sink.kill()
        sink.wait(DEADLINE_S)
        worker.terminate()
        assert 0 == worker.wait(DEADLINE_S)


def test_a_flag_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting is declared once and read from all three."""
    config = tmp_path / "sink.toml"
    config.write_text('results = "tcp://127.0.0.1:1"\nbind = "tcp://127.0.0.1:1"\nventilator = "tcp://127.0.0.1:1"\n')
    monkeypatch.setenv("PENSTOCK_BIND", "tcp://127.0.0.1:2")
    monkeypatch.setenv("PENSTOCK_VENTILATOR", "tcp://127.0.0.1:2")
    flags = ["--config", str(config), "--ventilator", "tcp://127.0.0.1:3"]
    settings = parse(SinkSettings, flags, "sink")
    assert "tcp://127.0.0.1:1" == settings.results
    assert "tcp://127.0.0.1:2" == settings.bind
    assert "tcp://127.0.0.1:3" == settings.ventilator
    monkeypatch.setenv("PENSTOCK_CONFIG", str(config))
    assert "tcp://127.0.0.1:1" == parse(SinkSettings, [], "sink").results


def test_roots_are_mapped_by_repeated_flags(tmp_path: Path) -> None:
    """`--root name=/path`, once for each, equals signs and spaces in paths included."""
    flags = ["--spec", "s.toml", "--root", "a=/one", "--root", f"b={tmp_path}/x=y z"]
    assert {"a": "/one", "b": f"{tmp_path}/x=y z"} == parse(VentilatorSettings, flags, "ventilator").root


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sink", "--heartbeat-s", "0"], "penstock sink: --heartbeat-s '0': Input should be greater than 0"),
        (["worker", "--slots", "many"], "penstock worker: --slots 'many': Input should be a valid integer"),
        (["worker", "--log-level", "loud"], "'debug', 'info', 'warning' or 'error'"),
        (["ventilator"], "--spec"),
        (["ventilator", "--spec", "none.toml"], "none.toml: cannot read the spec: No such file or directory; give"),
        (["worker", "--ventilator", "localhost:5555"], "address 'localhost:5555': give tcp://host:port or ipc:///path"),
        (["worker", "--ventilator", "tcp://localhost"], "'localhost' is no port; give tcp://host:port"),
        (["sink", "--health", "nowhere"], "health address 'nowhere'"),
        (["sink", "--config", "none.toml"], "--config 'none.toml': no such file"),
        (["worker", "--sluts", "3"], "--sluts"),
        (["turbine"], "no command 'turbine'"),
        (["up", "none.toml"], "none.toml: cannot read the spec"),
    ],
)
def test_wrong_settings_are_refused_in_words(arguments: list[str], words: str) -> None:
    """With the flag, its value and what is allowed; status 2."""
    assert words in refused(PENSTOCK, *arguments)


def test_wrong_settings_in_files_and_variables_are_refused_too(tmp_path: Path) -> None:
    """An unknown name in a file is no typo that passes unread."""
    config = tmp_path / "sink.toml"
    config.write_text("resluts = 3\n")
    assert "resluts" in refused(PENSTOCK, "sink", "--config", str(config))
    config.write_text("= 3\n")
    assert str(config) in refused(PENSTOCK, "sink", "--config", str(config))
    assert "--slots '0'" in refused(PENSTOCK, "worker", env={"PENSTOCK_SLOTS": "0"})


def test_a_root_that_is_missing_on_a_worker_is_said_in_words(photos: Path, spec_file: str, tmp_path: Path) -> None:
    """The worker leaves, with the root's name, the folder that it looked in, and what to do."""
    address = f"ipc://{tmp_path}/v.sock"
    with running([PENSTOCK, "ventilator", "--spec", spec_file, "--bind", address, *FAST]):
        words = refused(PENSTOCK, "worker", "--ventilator", address, "--root", f"photos={tmp_path}/none", *FAST)
    assert "photos" in words
    assert f"{tmp_path}/none" in words
    assert str(photos) not in words


def test_an_address_in_use_is_said_in_words(spec_file: str, tmp_path: Path, free_ports: list[int]) -> None:
    """Over TCP, and over a Unix socket, where binding would silently take it from its owner."""
    for address in (f"tcp://127.0.0.1:{free_ports[0]}", f"ipc://{tmp_path}/v.sock"):
        health = tmp_path / "health"
        with running([PENSTOCK, "ventilator", "--spec", spec_file, "--bind", address, "--health", str(health)]):
            until(lambda health=health: query(str(health))["ready"], "the first ventilator")  # type: ignore[misc]
            words = refused(PENSTOCK, "ventilator", "--spec", spec_file, "--bind", address)
            assert f"cannot bind to {address.removeprefix('ipc://')!r}" in words
            until(lambda health=health: query(str(health))["ready"], "the first ventilator to serve on")  # type: ignore[misc]
    with socket.create_server(("127.0.0.1", free_ports[1])):
        words = refused(PENSTOCK, "worker", "--health", f"127.0.0.1:{free_ports[1]}")
        assert f"health address '127.0.0.1:{free_ports[1]}'" in words


def test_a_file_that_is_no_socket_is_never_taken(spec_file: str, tmp_path: Path) -> None:
    """Binding would remove it: a user's data, after a slip of the keyboard."""
    precious = tmp_path / "precious"
    precious.write_text("data")
    for flags in (["--bind", f"ipc://{precious}"], ["--bind", f"ipc://{tmp_path}/v.sock", "--health", str(precious)]):
        assert "that is a file, and no socket" in refused(PENSTOCK, "ventilator", "--spec", spec_file, *flags)
    assert "data" == precious.read_text()


def test_a_socket_left_by_a_dead_service_is_taken_over(spec_file: str, tmp_path: Path) -> None:
    """After kill -9 the file is still there, and no process listens."""
    address, health = f"ipc://{tmp_path}/v.sock", tmp_path / "health"
    command = [PENSTOCK, "ventilator", "--spec", spec_file, "--bind", address, "--health", str(health)]
    with running(command) as [process]:
        until(lambda: query(str(health))["ready"], "the first ventilator")
        process.kill()
        process.wait()
    assert (tmp_path / "v.sock").exists()
    with running(command):
        until(lambda: query(str(health))["ready"], "the second ventilator")


def test_health_says_ready_and_why_not(spec_file: str, tmp_path: Path, free_ports: list[int]) -> None:
    """503 and a reason until the ventilator has answered, then 200; over TCP as over a Unix socket."""
    address = f"ipc://{tmp_path}/v.sock"
    sink = [PENSTOCK, "sink", "--ventilator", address, "--health", f"127.0.0.1:{free_ports[0]}", *FAST]
    sink += ["--results", f"ipc://{tmp_path}/r.sock", "--bind", f"ipc://{tmp_path}/t.sock"]
    worker = [PENSTOCK, "worker", "--ventilator", address, "--health", f"{tmp_path}/w.health", *FAST]
    with running(sink, worker):
        why = f"waiting for the ventilator at {address}"
        until(lambda: ask(free_ports[0])[1].get("why") == why, "the sink's health")
        code, status = ask(free_ports[0])
        assert (503, False, why) == (code, status["ready"], status["why"])
        until(lambda: query(f"{tmp_path}/w.health").get("why") == why, "the worker's health")
        with running([PENSTOCK, "ventilator", "--spec", spec_file, "--bind", address, *FAST]):
            until(lambda: ask(free_ports[0])[0] == 200, "the sink to be ready")
            until(lambda: query(f"{tmp_path}/w.health")["ready"], "the worker to be ready")
            code, status = ask(free_ports[0])
            assert "sink" == status["service"]
            assert {} == status["rejected"]
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{free_ports[0]}/", timeout=DEADLINE_S)
