"""Services that a fork server starts are processes like those of a command: their status, log, folder and end."""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.images import unprivileged
from support.streams import until

from penstock.launcher import fork_server, forked
from penstock.launcher.forked import FirstBatch, ForkedProcess, ForkServer
from penstock.launcher.service_command import service_command
from penstock.launcher.spare import can_fork
from penstock.protocol.runtime.health import query

pytestmark = pytest.mark.skipif(not can_fork(), reason="services are forked on Linux only")


@pytest.fixture(name="server")
def fixture_server() -> Iterator[ForkServer]:
    """Give a fork server that is closed in the end."""
    server = ForkServer()
    yield server
    server.close()


def start(
    server: ForkServer, folder: Path, service: str = "worker", after: FirstBatch | None = None, **settings: object
) -> ForkedProcess:
    """Start a service that finds no other; its log is in `folder`, where its health socket is too."""
    known = {"ventilator": f"ipc://{folder}/nobody.sock", "health": str(folder / "health"), **settings}
    with (folder / "log").open("ab") as log:
        process = server.start(service_command(service, known), log, os.environ, after)
    assert isinstance(process, ForkedProcess)
    return process


def runs(folder: Path) -> bool:
    """Return whether the service answers at its health socket."""
    return "pid" in query(str(folder / "health"))


def test_a_forked_service_is_named_like_a_command_and_ends_at_a_signal(server: ForkServer, tmp_path: Path) -> None:
    """`ps` shows the service and its flags; it has a session of its own, and SIGTERM ends it with status 0.

    Also where all processes get the signal, as from systemd: the fork server leaves with the program only.
    """
    process = start(server, tmp_path)
    until(lambda: runs(tmp_path), "the worker to answer")
    assert None is process.poll()
    shown = " ".join(psutil.Process(process.pid).cmdline())
    assert f"{sys.executable} -P -m penstock.worker" in shown
    assert f"--health={tmp_path}/health" in shown
    assert process.pid == os.getsid(process.pid)
    assert not os.get_inheritable(process._descriptor)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(psutil.Process(process.pid).ppid(), number)
    process.terminate()
    assert 0 == process.wait(60)
    assert 0 == process.poll()
    process.kill()  # nothing, and no error


def test_a_late_service_is_there_at_once_and_begins_after_the_first_batch(server: ForkServer, tmp_path: Path) -> None:
    """It is named and can be ended while it waits; from the first batch on, nothing is waited for."""
    (other := tmp_path / "other").mkdir()
    (third := tmp_path / "third").mkdir()
    first_batch = FirstBatch()
    began = time.monotonic()
    ended, late = start(server, third, after=first_batch), start(server, tmp_path, after=first_batch)
    until(lambda: "penstock.worker" in " ".join(psutil.Process(late.pid).cmdline()), "the late one to have its name")
    start(server, other)
    until(lambda: runs(other), "a worker that was started later to answer")
    waits = not runs(tmp_path)
    assert waits or time.monotonic() > began + fork_server.FIRST_BATCH_S
    ended.terminate()
    assert ended.wait(60) in (0, -signal.SIGTERM)
    first_batch.came()
    first_batch.came()
    assert None is first_batch.descriptor()
    until(lambda: runs(tmp_path), "the late one to answer")


def test_nothing_is_waited_for_in_a_stack_that_has_run_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trainers may be in other processes, whose batches are not seen in this one."""
    assert FirstBatch().descriptor() is not None
    monkeypatch.setattr(forked, "_START_OF_STACK_S", -1.0)
    assert FirstBatch().descriptor() is None


def test_a_service_that_cannot_run_says_so_in_its_log(server: ForkServer, tmp_path: Path) -> None:
    """Status 2 and the words are those that a command would leave."""
    process = start(server, tmp_path, slots=0)
    assert 2 == process.wait(60)
    assert "--slots '0'" in (tmp_path / "log").read_text()


def test_a_killed_service_has_the_status_of_the_signal_and_others_live_on(server: ForkServer, tmp_path: Path) -> None:
    """As `subprocess` says it; the next one is forked from the same process."""
    (other := tmp_path / "other").mkdir()
    first, second = start(server, tmp_path), start(server, other)
    first.kill()
    assert -signal.SIGKILL == first.wait(60)
    assert None is second.poll()
    assert psutil.Process(second.pid).ppid() == psutil.Process(start(server, tmp_path).pid).ppid()
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.01)


def test_services_leave_when_the_fork_server_is_killed_and_a_new_one_is_started(
    server: ForkServer, tmp_path: Path
) -> None:
    """No process can tell how they ended then; they count as killed. The next service need not wait for that."""
    process = start(server, tmp_path)
    until(lambda: runs(tmp_path), "the worker to answer")
    parent = psutil.Process(process.pid).parent()
    assert parent
    parent.kill()
    until(lambda: parent.status() == psutil.STATUS_ZOMBIE, "the fork server to be gone")
    (other := tmp_path / "other").mkdir()
    assert None is start(server, other).poll()
    assert -signal.SIGKILL == process.wait(60)
    assert "the process that started this service is gone" in (tmp_path / "log").read_text()


def test_a_service_gets_the_folder_and_the_environment_of_now(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed since the fork server began holds for the next service: a variable removed, another folder."""
    monkeypatch.setenv("PENSTOCK_SLOTS", "x")
    assert 2 == start(server, tmp_path).wait(60)
    assert "--slots 'x'" in (tmp_path / "log").read_text()
    monkeypatch.delenv("PENSTOCK_SLOTS")
    (other := tmp_path / "other").mkdir()
    monkeypatch.chdir(other)
    process = start(server, tmp_path)
    until(lambda: runs(tmp_path), "the worker to answer")
    assert str(other) == psutil.Process(process.pid).cwd()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_of_the_program_takes_nothing_that_its_parent_waits_for(server: ForkServer, tmp_path: Path) -> None:
    """The status of a service arrives, although the fork asked for it first, and closed the fork server at its end."""
    process = start(server, tmp_path)
    process.kill()
    assert process._has_ended(60)
    if (fork := os.fork()) == 0:
        try:
            process.poll()
            server.close()
        finally:
            os._exit(0)
    os.waitpid(fork, 0)
    assert -signal.SIGKILL == process.wait(60)
    assert server._server
    assert not server._server.ended


def test_the_start_of_one_service_may_fail_while_others_run(server: ForkServer, tmp_path: Path) -> None:
    """Where the fork server, or this process, has no descriptor left, the reason is raised; then all is as before."""
    (other := tmp_path / "other").mkdir()
    process = start(server, tmp_path)
    parent = psutil.Process(process.pid).ppid()
    (_, most), mine = resource.prlimit(parent, resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(each.name) for each in Path(f"/proc/{parent}/fd").iterdir()}
    free = [each for each in range(len(used) + 3) if each not in used]
    for limit in free[1:3]:  # what comes with a request needs two descriptors, the process that is forked a third
        resource.prlimit(parent, resource.RLIMIT_NOFILE, (limit, most))
        with pytest.raises(OSError, match="Too many open files"):
            start(server, other)
    resource.prlimit(parent, resource.RLIMIT_NOFILE, (most, most))
    with (other / "log").open("ab") as log:
        free = [os.dup(0), os.dup(0)]
        for each in free:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[1], mine[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                server.start(service_command("worker", {"ventilator": f"ipc://{other}/none"}), log, os.environ)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, mine)
    assert None is process.poll()
    assert parent == psutil.Process(start(server, other).pid).ppid()
    until(lambda: 2 == len(psutil.Process(parent).children()), "the others to be gone")


def test_closed_streams_and_ignored_children_of_the_program_do_not_matter(tmp_path: Path) -> None:
    """As under `>&- 2>&-` and `trap '' CHLD`: a service has its log, and its status arrives."""
    program = (
        "import os, sys\n"
        "from penstock.launcher.forked import ForkServer\n"
        "from penstock.launcher.service_command import service_command\n"
        "with open(sys.argv[1], 'ab') as log:\n"
        "    process = ForkServer().start(service_command('worker', {'slots': 0}), log, os.environ)\n"
        "sys.exit(40 + process.wait(60))\n"
    )
    shell = "trap '' CHLD; exec \"$@\" <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", shell, "sh", sys.executable, "-c", program, str(tmp_path / "log")], check=False)
    assert 42 == done.returncode
    assert "--slots '0'" in (tmp_path / "log").read_text()


def test_a_working_folder_that_may_not_be_entered_does_not_matter(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a program that gave up root's rights in root's folder: services run where the fork server does."""
    start(server, tmp_path)
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0)
    command = service_command("worker", {"slots": 0})
    with (tmp_path / "log").open("ab") as log, unprivileged():
        process = server.start(command, log, os.environ)
    assert 2 == process.wait(60)


def test_nothing_is_left_when_the_program_is_killed(tmp_path: Path) -> None:
    """Even where a fork of the program lives on, and with it the socket to the fork server."""
    program = (
        "import os, sys, json, time\n"
        "from penstock.launcher.forked import ForkServer\n"
        "from penstock.launcher.service_command import service_command\n"
        "server = ForkServer()\n"
        "flags = {'ventilator': 'ipc:///nobody.sock', 'health': sys.argv[1]}\n"
        "process = server.start(service_command('worker', flags), None, os.environ)\n"
        "fork = os.fork()\n"
        "if fork: print(json.dumps([process.pid, fork]), flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "health")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout
        pid, fork = json.loads(running.stdout.readline())
        service, parent = psutil.Process(pid), psutil.Process(pid).parent()
        assert parent
        running.kill()
    try:
        _, alive = psutil.wait_procs([service, parent], timeout=60)
        assert [] == [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    finally:
        os.kill(fork, signal.SIGKILL)


def test_a_process_that_outlives_its_module_is_let_go_without_a_word(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the interpreter's end modules are emptied first, while something may refer to a stack still."""
    process, words = start(server, tmp_path, slots=0), list[object]()
    assert 2 == process.wait(60)
    monkeypatch.setattr(sys, "unraisablehook", words.append)
    with monkeypatch.context() as patch:
        patch.setattr(forked, "os", None)
        del process
        gc.collect()
    assert [] == words


def test_a_fork_server_that_stands_still_is_not_waited_for(server: ForkServer, tmp_path: Path) -> None:
    """A status that does not arrive is not known yet; closing ends what does not leave."""
    process = start(server, tmp_path)
    parent = psutil.Process(process.pid).parent()
    assert parent
    parent.suspend()
    process.kill()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    server.close()
    assert not parent.is_running()
