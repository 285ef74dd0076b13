"""A fork server is begun before it is needed, and kept for the next stack if that would have begun the same."""

import gc
import importlib
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.streams import until

from penstock.launcher import spare
from penstock.launcher.fork_server import Server
from penstock.launcher.forked import ForkServer
from penstock.launcher.service_command import service_command
from penstock.launcher.spare import can_fork, service_environment

pytestmark = pytest.mark.skipif(not can_fork(), reason="services are forked on Linux only")


@pytest.fixture(autouse=True)
def none_to_spare() -> Iterator[None]:
    """Begin and end without a fork server to spare."""
    spare.end()
    yield
    spare.end()


def serves(folder: Path) -> int:
    """Start and end a service, as a stack would; return the process that forked it."""
    server = ForkServer()
    command = service_command("worker", {"ventilator": f"ipc://{folder}/none", "health": str(folder / "health")})
    with (folder / "log").open("ab") as log:
        process = server.start(command, log, service_environment())
    parent = psutil.Process(process.pid).ppid()
    process.kill()
    assert -signal.SIGKILL == process.wait(60)
    server.close()
    assert -signal.SIGKILL == process.poll()
    return parent


def test_the_next_stack_is_served_by_the_same_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that only services read may differ: each request brings them."""
    first = serves(tmp_path)
    monkeypatch.setenv("PENSTOCK_SLOTS", "4")
    assert first == serves(tmp_path)


def test_one_that_was_prepared_is_used(tmp_path: Path) -> None:
    """And only one is: preparing twice begins one process."""
    spare.prepare()
    spare.prepare()
    [begun] = spare._spare
    assert begun.process.pid == serves(tmp_path)


def _limit_files() -> Callable[[], object]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _mask_files() -> Callable[[], object]:
    before = os.umask(0o027)
    return lambda: os.umask(before)


def _set_variable() -> Callable[[], object]:
    os.environ["OF_A_LIBRARY"] = "read when it is imported"
    return lambda: os.environ.pop("OF_A_LIBRARY")


def _print_elsewhere() -> Callable[[], object]:
    before, other = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(other, 2)
    os.close(other)

    def undo() -> None:
        os.dup2(before, 2)
        os.close(before)

    return undo


@pytest.mark.parametrize("change", [_limit_files, _mask_files, _set_variable, _print_elsewhere])
def test_one_that_inherited_something_else_is_not_used(
    change: Callable[[], Callable[[], object]], tmp_path: Path
) -> None:
    """What a process inherits is that of now: limits, umask, variables, where it prints. The old one is ended."""
    spare.prepare()
    [begun] = spare._spare
    undo = change()
    try:
        assert begun.process.pid != serves(tmp_path)
        assert begun.process.returncode is not None
    finally:
        undo()


def test_one_whose_service_still_runs_is_not_kept(tmp_path: Path) -> None:
    """It is ended, and the service with it."""
    server = ForkServer()
    command = service_command("worker", {"ventilator": f"ipc://{tmp_path}/none", "health": str(tmp_path / "health")})
    process = server.start(command, None, service_environment())
    server.close()
    assert [] == spare._spare
    until(lambda: not psutil.pid_exists(process.pid), "the service to be gone")


def test_one_that_was_killed_is_replaced(tmp_path: Path) -> None:
    """Whether that was before it was taken, or after."""
    spare.prepare()
    [begun] = spare._spare
    begun.process.kill()
    begun.process.wait(60)
    assert begun.process.pid != serves(tmp_path)


def test_one_that_is_garbage_closes_its_socket() -> None:
    """Whatever the collector ends first: here the socket, which was in use when it last looked at all objects."""
    begun = spare.Begun(service_environment())
    process, used, holder = begun.process, begun.socket, list[Any]()
    holder += [begun, holder]
    del begun
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        del holder, used
        gc.collect()
    assert [] == [str(each.message) for each in seen if "socket" in str(each.message)]
    process.wait(60)


def test_one_that_nobody_wants_leaves() -> None:
    """After a minute without a request and without a child."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert None is Server(theirs, os.getppid(), ahead=[], wanted=time.monotonic() - 61).serve()


@pytest.mark.parametrize("end", ["sys.exit(3)", "os._exit(3)", "os.kill(os.getpid(), 9)", "raise SystemExit(3)"])
def test_it_leaves_with_the_program(end: str) -> None:
    """However that ends, and a fork of the program leaves its parent's alone."""
    program = (
        "import os, sys\n"
        "from penstock.launcher import spare\n"
        "spare.prepare()\n"
        "if (fork := os.fork()) == 0: sys.exit()\n"
        "os.waitpid(fork, 0)\n"
        "assert spare._spare[0].process.poll() is None\n"
        "print(spare._spare[0].process.pid, flush=True)\n"
        f"{end}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False, timeout=60)
    until(lambda: not psutil.pid_exists(int(done.stdout)), "the fork server to be gone")


def test_a_spec_that_is_wrong_leaves_nothing_running() -> None:
    """Although a fork server was begun before the spec was read: the program ends as soon as it is told."""
    program = "import penstock; penstock.local({'streams': {}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert 1 == done.returncode
    assert "SpecError" in done.stderr


def test_one_that_waits_imports_what_every_service_needs(tmp_path: Path) -> None:
    """So a stack that comes later waits for no import; what workers need comes first, and after a request the rest."""
    server = ForkServer()
    command = service_command("worker", {"ventilator": f"ipc://{tmp_path}/none", "health": str(tmp_path / "health")})
    process = server.start(command, None, service_environment())
    parent = psutil.Process(process.pid).ppid()
    loaded = Path(f"/proc/{parent}/maps")
    assert "cv2" in loaded.read_text()
    server.close()

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        waiting = Server(theirs, os.getppid(), wanted=time.monotonic() - 61)
        assert waiting.ahead.index("penstock.worker.service") < waiting.ahead.index("penstock.ventilator.service")
        assert 0 == waiting._import_in()
        waiting.asked = time.monotonic()
        del waiting.ahead[: waiting.ahead.index("penstock.ventilator.service")]
        assert 0 < waiting._import_in()
        waiting.asked = -math.inf
        until(lambda: not (waiting._wait() or waiting.ahead), "the imports to be done")
        assert math.inf == waiting._import_in()


def test_a_service_is_forked_with_what_the_program_has_read_specs_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each service would else import the kinds of sources and steps again."""
    asked: list[dict[str, Any]] = []
    send = socket.send_fds

    def note(to: socket.socket, messages: list[bytes], descriptors: list[int]) -> int:
        asked.append(json.loads(messages[0]))
        return send(to, messages, descriptors)

    importlib.import_module("penstock.sources.directory")
    monkeypatch.setattr("penstock.launcher.forked.socket.send_fds", note)
    serves(tmp_path)
    assert "penstock.sources.directory" in asked[0]["modules"]

    (tmp_path / "of_a_spec.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    request = {"id": 1, "service": "sink", "modules": ["not_there", "of_a_spec"], "descriptors": ["log"]}
    with ours, theirs:
        assert not Server(theirs, os.getppid(), ahead=[])._start(
            request, ()
        )  # without the descriptor, nothing is forked
        assert "Too many open files" in json.loads(ours.recv(1000))["error"]
    gc.unfreeze()
    assert "of_a_spec" in sys.modules
