"""What is in the images and what containers may do, as the engine and the containers themselves tell it."""

import json
import os
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
from compose.project import COMMAND_S, IMAGES, TAG, MakeProject, Project, docker
from support.streams import until

from penstock.protocol.errors import DeadlineError
from penstock.protocol.transport.keys import ROLES

pytestmark = [pytest.mark.compose, pytest.mark.slow]

#: Prints what a container's process may do, and whether it can write to the program's folder.
PROBE = """
import json, os, pathlib
lines = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
def writes(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError:
        return False
    return True
facts = {name: lines[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")}
facts["uid"] = os.geteuid()
facts["writes"] = [path for path in ("/x", "/app/x", "/opt/penstock/x", "/etc/x", "/keys/x", "/tmp/x") if writes(path)]
facts["keys"] = sorted(path.name for path in pathlib.Path("/keys").rglob("secret/*"))
facts["docker"] = os.path.exists("/var/run/docker.sock")
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def stack(project: MakeProject, data: Path, spec: Path) -> Project:
    """Return a running stack with one worker."""
    made = project(DATA=data, SPEC=spec)
    made.up("sink", "worker", workers=1)
    return made


def inside(image: str, *program: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a fresh container of an image, as `docker run` does by default."""
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", *program]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", IMAGES)
def test_only_the_trainer_has_tensorflow(name: str, images: tuple[str, ...]) -> None:
    """Neither it nor Keras can be imported elsewhere, and no file of theirs is there; nor is pip installed."""
    del images
    program = """
import importlib.util, pathlib, sys
found = [name for name in ("tensorflow", "keras", "pip") if importlib.util.find_spec(name)]
files = list(pathlib.Path("/").glob("opt/penstock/lib/python3*/site-packages/tensorflow*"))
print(*found, "files" if files else "")
"""
    expected = ["tensorflow", "keras", "files"] if name == "trainer" else []
    assert expected == inside(f"penstock-{name}:{TAG}", program).stdout.split()


def test_workers_have_the_compiled_extension(images: tuple[str, ...]) -> None:
    """With the library that it needs: patches of large JPEGs are decoded alone."""
    del images
    program = "from penstock.worker.imaging import partial_jpeg; print(partial_jpeg.describe())"
    assert "compiled extension" in inside(f"penstock-worker:{TAG}", program).stdout


@pytest.mark.parametrize("script", ["slim_opencv.py", "slim_packages.py"])
def test_packages_work_without_what_was_taken_out_of_them(root: Path, images: tuple[str, ...], script: str) -> None:
    """OpenCV's codecs, warps, LAPACK and BLAS; what HDF5, Pillow, numpy and tracebacks import. Nothing is printed."""
    del images
    trial = runpy.run_path(str(root / "deploy" / script))["TRIAL"]
    done = inside(f"penstock-worker:{TAG}", trial)
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_opencv_says_that_it_decodes_no_video(images: tuple[str, ...]) -> None:
    """FFmpeg is gone; a program that asks for it ends with the reason."""
    del images
    assert "decodes no video" in inside(f"penstock-worker:{TAG}", "import cv2; cv2.VideoCapture('x.mp4')").stderr


def test_a_workers_image_stays_small(images: tuple[str, ...]) -> None:
    """What is above the base image: packages and program (MB)."""
    del images
    base = os.environ.get("BASE", "python:3.11-slim")
    sizes = docker("image", "inspect", "--format", "{{.Size}}", f"penstock-worker:{TAG}", base).split()
    assert (int(sizes[0]) - int(sizes[1])) / 1e6 < 211


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_nobody_in_particular(name: str, images: tuple[str, ...]) -> None:
    """Also without Compose: a fixed user with no rights; and services can be asked how they are."""
    del images
    settings = json.loads(docker("image", "inspect", f"penstock-{name}:{TAG}"))[0]["Config"]
    assert "10001:10001" == settings["User"]
    assert (name == "trainer") == ("Healthcheck" not in settings)


def test_an_image_holds_no_keys_and_nothing_of_the_repository_but_the_program(images: tuple[str, ...]) -> None:
    """What `.dockerignore` lets through is what the program needs."""
    program = (
        "import pathlib; print(*(path for path in pathlib.Path('/').glob('*') if path.name in ('build', 'wheels')))"
    )
    program += "; print(*pathlib.Path('/keys').rglob('*.toml'), *pathlib.Path('/app').rglob('*.toml'))"
    for image in images:
        assert [] == inside(image, program).stdout.split()
        assert not [name for name in ("tests", "docs", "build") if name in inside(image, LISTING).stdout.split()]


LISTING = "import pathlib; print(*(path.name for path in pathlib.Path('/app').iterdir()))"


@pytest.mark.parametrize("profile", ["train", "hdf5", "monitoring"])
def test_every_container_is_asked_to_have_no_rights(profile: str, root: Path, engine: None, tmp_path: Path) -> None:
    """In the configuration that Compose makes of the file: of all services, the one-shots too."""
    del engine
    project = Project(root, "penstock-test-config", tmp_path)
    project.profiles = (profile,)
    services: dict[str, Any] = json.loads(project.run("config", "--format", "json"))["services"]
    known = {"train": {"sink", "trainer"}, "hdf5": {"writer", "output"}, "monitoring": {"prometheus", "grafana"}}
    assert known[profile] == set(services) - {*("keys", "images", "ventilator", "worker")}
    for name, service in services.items():
        assert (True, ["ALL"], ["no-new-privileges:true"], True) == (
            service["read_only"],
            service["cap_drop"],
            service["security_opt"],
            service["init"],
        ), name
        assert not service.get("privileged")
        assert service.get("pid") is None, "a shared PID namespace would let services look into each other's memory"
        assert not [volume for volume in service["volumes"] if "docker.sock" in volume.get("source", "")]
        assert all("127.0.0.1" == port["host_ip"] for port in service.get("ports", []))


#: What a service waits for before it is started, and how: to have ended well, or to run.
WAITS = {
    "ventilator": {"keys": "service_completed_successfully", "images": "service_completed_successfully"},
    "worker": dict.fromkeys(("ventilator", "sink", "writer"), "service_started"),
    "sink": {"ventilator": "service_started"},
    "trainer": {
        "keys": "service_completed_successfully",
        "images": "service_completed_successfully",
        "ventilator": "service_started",
    },
}


def test_limits_and_order_are_what_compose_is_told(root: Path, engine: None, tmp_path: Path) -> None:
    """Each service's share of processors and memory is a variable; none starts before what prepares it."""
    del engine
    limits = {f"{name.upper()}_{what}": value for name in WAITS for what, value in (("CPUS", 0.5), ("MEMORY", "100m"))}
    project = Project(root, "penstock-test-limits", tmp_path, (), **limits)
    services = json.loads(project.run("config", "--format", "json"))["services"]
    for name, waits in WAITS.items():
        service = services[name]
        assert (0.5, 100 * 2**20) == (service["cpus"], int(service["mem_limit"])), name
        assert waits == {other: wait["condition"] for other, wait in service["depends_on"].items()}, name


def test_the_files_that_the_docs_show_are_valid(root: Path, engine: None, tmp_path: Path) -> None:
    """Each block of YAML changes docker-compose.yml as Compose understands it."""
    del engine
    blocks = re.findall(r"```yaml\n(.*?)```", (root / "docs" / "compose.md").read_text(), re.DOTALL)
    assert 2 == len(blocks)
    for block in blocks:
        changes = tmp_path / "changes.yml"
        changes.write_text(block)
        services = json.loads(
            Project(root, "penstock-test-docs", tmp_path, [changes]).run("config", "--format", "json")
        )
        for name, service in yaml_services(block).items():
            assert service <= set(services["services"][name])


def yaml_services(block: str) -> dict[str, set[str]]:
    """Return the services that a block names, each with the settings that it gives."""
    found: dict[str, set[str]] = {}
    for indent, name in re.findall(r"^( {2}| {4})([\w-]+):", block, re.MULTILINE):
        if indent == "  ":
            found[name] = set()
        else:
            found[list(found)[-1]].add(name)
    return found


@pytest.mark.parametrize("service", ["ventilator", "worker", "sink"])
def test_a_running_container_can_do_nothing_but_its_work(service: str, stack: Project) -> None:
    """No capability, no new ones, no file outside /tmp, no key of another role: asked from within."""
    facts = json.loads(stack.run("exec", "--no-TTY", service, "python", "-c", PROBE))
    assert ["/tmp/x"] == facts.pop("writes")  # noqa: S108 - in the container
    assert [f"{service}.toml"] == facts.pop("keys")
    nothing = "0000000000000000"
    expected = {"CapEff": nothing, "CapPrm": nothing, "CapBnd": nothing, "NoNewPrivs": "1", "Seccomp": "2"}
    assert expected | {"uid": 10001, "docker": False} == facts


def test_services_in_containers_share_no_memory_and_miss_nothing(stack: Project) -> None:
    """Each has process numbers of its own, so a segment's name means something else there: it is never mistaken."""
    with stack.feed() as feed:
        for _ in zip(range(12), feed, strict=False):
            pass
        status = stack.health("sink")
    assert {"trainers": 0, "segments": 0} == status["sharing"]
    assert {} == status["rejected"]
    assert {} == stack.health("worker")["rejected"]


def is_refused(stack: Project, keys: Path) -> bool:
    """Return whether who comes with these keys now is not let in."""
    with stack.feed(keys=keys, timeout_s=5.0) as feed:
        try:
            next(iter(feed))
        except DeadlineError as error:  # on a busy machine the first batch may take longer as well
            return "refused the connection" in str(error)
    return False


def test_keys_are_handed_out_and_taken_back_while_all_runs(stack: Project) -> None:
    """`keys add`, `keys export` and `keys revoke`, as one-shot runs: services heed them within a second."""
    for arguments in (["add", "trainer-2"], ["export", "trainer-2", "/keys/all/trainer-2"]):
        stack.run("run", "--rm", "--no-deps", "keys", *arguments)
    mine = stack.scratch / "mine"
    stack.run("cp", "keys:/keys/all/trainer-2", str(mine))
    assert [0o700, 0o600] == [path.stat().st_mode & 0o777 for path in (mine, mine / "secret" / "trainer-2.toml")]
    with stack.feed(keys=mine) as feed:
        assert 16 == len(next(iter(feed))["label"])
    stack.run("run", "--rm", "--no-deps", "keys", "revoke", "trainer-2")
    until(lambda: is_refused(stack, mine), "the sink to know that the key was revoked", COMMAND_S)
    listed = stack.run("run", "--rm", "--no-deps", "keys", "list")
    assert sorted(ROLES) == sorted(re.findall(r"^(\S+) +\S+ +\S{40}$", listed, re.MULTILINE))
