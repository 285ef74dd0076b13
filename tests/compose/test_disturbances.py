"""A stack in containers that is scaled, killed, cut off and stopped in mid-epoch, and a trainer that notices nothing.

The trainer is on this machine and reads at its own pace, so that each disturbance falls between two of its batches
while most of the epoch is still to be made. It is done with when it has the bytes of an undisturbed local run.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from compose.project import COMMAND_S, MakeProject, Project, docker
from support.streams import Batch, digest, epochs, run_stack, take, until

from penstock.trainer.client.feed import Feed

pytestmark = [pytest.mark.compose, pytest.mark.slow]

#: Batches of two epochs; epochs that the trainer in a container records, and batches after which it waits to be killed.
ALL, RECORDED, HOLD = 46, 6, 100


@pytest.fixture(scope="module")
def stack(
    root: Path, project: MakeProject, data: Path, spec: Path, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """Return a running stack over the user's images, with two workers; a trainer of the tests' own is not started."""
    folder = tmp_path_factory.mktemp("recorded")
    folder.chmod(0o777)
    trainer = {
        "entrypoint": ["python", "/program.py"],
        "command": ["/output", str(RECORDED), str(HOLD)],
        "volumes": [f"{root}/tests/compose/recording_trainer.py:/program.py:ro", f"{folder}:/output"],
    }
    changes = folder / "changes.json"
    changes.write_text(json.dumps({"services": {"trainer": trainer}}))
    made = project(changes, DATA=data, SPEC=spec)
    made.up("sink", "worker", workers=2)
    return made


@pytest.fixture
def feed(stack: Project) -> Iterator[Feed]:
    """Return a trainer that begins at the first batch, of a stack that is whole: both workers have joined."""
    for service in ("ventilator", "sink"):
        stack.healthy(service)
    until(lambda: stack.health("worker").get("ready"), "a worker to be ready")
    until(lambda: 2 == stack.health("ventilator").get("workers"), "two workers", COMMAND_S)
    with stack.feed() as feed:
        yield feed


def test_workers_come_and_go(stack: Project, feed: Feed, reference: list[Batch]) -> None:
    """One worker, four, two, in mid-epoch; who is sent away drains, and none of its tasks is lost."""

    def said(event: str) -> int:
        return len(stack.events("ventilator", event))

    left = said("worker left")
    stack.up("worker", workers=1)
    got = take(feed, 4)
    stack.up("worker", workers=4)
    until(lambda: 4 == stack.health("ventilator").get("workers"), "four workers", COMMAND_S)
    got += take(feed, 12)
    four = set(stack.containers("worker"))
    stack.up("worker", workers=2)
    assert 2 == len(set(stack.containers("worker")) & four), "two of the four stay as they are"
    got += take(feed, ALL - 16)
    assert digest(reference) == digest(got)
    # So none of the three was waited for; one that stays may be silent for a while on a busy machine.
    until(lambda: left + 3 == said("worker left"), "three workers to have said goodbye", COMMAND_S)


def test_the_dashboard_is_there_for_who_has_its_token(stack: Project, feed: Feed) -> None:
    """From this machine, by the address in the log of `keys`; it knows the workers, and gets samples from the sink."""
    said = stack.logs("keys")
    [(address, token)] = set(re.findall(r"dashboard: (\S+)\?token=([\w-]+)", said))
    assert f"http://127.0.0.1:{stack.dashboard_port}/" == address
    shown = until(lambda: stack.events("ventilator", "dashboard"), "the ventilator to say where the dashboard is")
    assert shown[0]["url"] == address, "without the token"

    def ask(path: str, token: str = token) -> tuple[int, dict[str, Any]]:
        request = Request(address + path, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - http
        try:
            with urlopen(request, timeout=COMMAND_S) as answer:  # noqa: S310 - http
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, {}

    for wrong in ("", "x" * len(token)):
        assert {HTTPStatus.UNAUTHORIZED} == {ask(path, wrong)[0] for path in ("", "status", "samples?stream=train")}
    take(feed, 3)
    until(lambda: 2 == len(ask("status")[1]["workers"]), "the page to know both workers")
    pictures = until(lambda: ask("samples?stream=train")[1]["pictures"], "the sink to show samples")
    assert all(picture["picture"].startswith("data:image/") for picture in pictures)


@pytest.mark.parametrize("service", ["worker", "sink", "ventilator"])
def test_a_service_that_is_killed_is_started_again(
    service: str, stack: Project, feed: Feed, reference: list[Batch]
) -> None:
    """Its process dies within the container, as in a crash: the engine starts it, without any help."""
    got = take(feed, 7)
    victim = stack.container(service)

    def starts() -> int:
        return int(json.loads(docker("inspect", victim))[0]["RestartCount"])

    before = starts()
    # The container's end may end this too, before it says 0.
    docker("exec", victim, "python", "-ISc", KILL, check=False)
    got += take(feed, ALL - 7)
    assert digest(reference) == digest(got)
    until(lambda: before < starts(), "the engine to start it", COMMAND_S)


@pytest.mark.parametrize("service", ["worker", "sink", "ventilator"])
def test_docker_kill_of_a_service_loses_nothing(
    service: str, stack: Project, feed: Feed, reference: list[Batch]
) -> None:
    """The engine takes that for a wish and leaves it dead, until the next `up`."""
    got = take(feed, 9)
    victim = stack.container(service)
    docker("kill", victim)
    until(lambda: victim not in stack.containers(service), "it to be dead")
    stack.up("sink", "worker", workers=2)
    got += take(feed, ALL - 9)
    assert digest(reference) == digest(got)


def test_docker_kill_of_the_trainer_loses_nothing(stack: Project, data: Path, spec: Path) -> None:
    """Started again, it goes on from the position that it has saved: no batch is missing, and none comes twice."""
    for service in ("ventilator", "sink"):
        stack.healthy(service)
    stack.up("trainer", "worker", workers=2)
    [folder] = [mount["Source"] for mount in stack.inspect("trainer")["Mounts"] if mount["Destination"] == "/output"]
    record = Path(folder) / "batches.jsonl"
    until(
        lambda: record.exists() and record.read_text().count("\n") > ALL,
        "the trainer to be in its third epoch",
        COMMAND_S,
    )
    docker("kill", stack.container("trainer"))
    (Path(folder) / "go").touch()
    stack.up("trainer", "worker", workers=2)
    until(lambda: "done" in stack.logs("trainer"), "the trainer to be done", COMMAND_S)
    got = [json.loads(line)["digest"] for line in record.read_text().splitlines()]
    local = tomllib.loads(spec.read_text()) | {"roots": {"images": str(data)}}
    with run_stack(local, workers=2) as undisturbed:
        assert [digest([batch]) for batch in epochs(undisturbed.feed(), RECORDED)] == got


def test_a_worker_that_hangs_holds_nobody_up(stack: Project, feed: Feed, reference: list[Batch]) -> None:
    """Paused, it is as silent as a machine that swaps; others get its tasks, and what it sends later is dropped."""
    got = take(feed, 5)
    worker = stack.container("worker")
    docker("pause", worker)
    try:
        got += take(feed, 25)
    finally:
        docker("unpause", worker)
    got += take(feed, ALL - 30)
    assert digest(reference) == digest(got)


@pytest.mark.parametrize("service", ["worker", "sink"])
def test_a_cut_off_service_is_found_again(service: str, stack: Project, feed: Feed, reference: list[Batch]) -> None:
    """A container that loses its network and gets it back goes on; in between its tasks go elsewhere, or all wait."""
    got = take(feed, 5)
    container, network = stack.container(service), f"{stack.name}_default"
    docker("network", "disconnect", network, container)
    try:
        if service == "worker":
            got += take(feed, 20)
        until(lambda: not stack.health(service).get("ready"), f"the {service} to notice", COMMAND_S)
    finally:
        docker("network", "connect", "--alias", service, network, container)
    got += take(feed, ALL - len(got))
    assert digest(reference) == digest(got)


def test_up_a_second_time_changes_nothing(stack: Project, feed: Feed, reference: list[Batch]) -> None:
    """The one-shot services run again and find all done: the same keys, the same containers, and an epoch goes on."""
    got = take(feed, 5)
    keys = (stack.keys() / "secret" / "trainer.toml").read_text()
    before = {service: sorted(stack.containers(service)) for service in ("ventilator", "sink", "worker")}
    stack.up("sink", "worker", workers=2)
    assert before == {service: sorted(stack.containers(service)) for service in before}
    again = stack.scratch / "again"
    stack.run("cp", "keys:/keys/trainer/stack", str(again))
    assert keys == (again / "secret" / "trainer.toml").read_text()
    got += take(feed, ALL - 5)
    assert digest(reference) == digest(got)


#: Kills the service, which is the child of the container's first process.
KILL = """
import os, pathlib
for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
        pid, _, rest = path.read_text().partition(" (")
        if rest.rpartition(") ")[2].split()[1] == "1" and int(pid) != os.getpid():
            os.kill(int(pid), 9)
    except OSError:  # a process that has ended meanwhile, such as a health check
        pass
"""
