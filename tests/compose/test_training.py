"""`docker compose up` as the README says it: it trains, it ends, it goes again, and it leaves nothing behind."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from compose.project import MakeProject, Project, docker
from support.streams import make_images, until

pytestmark = [pytest.mark.compose, pytest.mark.slow]

#: Longest that an epoch of the example may take, TensorFlow's start included (s).
TRAIN_S = 300.0


def left(project: Project) -> list[str]:
    """Return the names of all that the engine has of a project."""
    label = f"label=com.docker.compose.project={project.name}"
    found = docker("ps", "--all", "--filter", label, "--format", "{{.Names}}")
    for kind in ("volume", "network"):
        found += docker(kind, "ls", "--filter", label, "--format", "{{.Name}}")
    return found.split()


def test_up_trains_on_made_images_and_down_leaves_nothing(project: MakeProject) -> None:
    """Four workers, one epoch, no DATA; the trainer ends with 0, `up` again knows that, and a further epoch goes on."""
    stack = project(EPOCHS=1)
    stack.up(workers=4)
    assert 4 == len(stack.containers("worker"))
    ended = ("exited", 0)

    def trained() -> tuple[str, int]:
        state = stack.inspect("trainer")["State"]
        return state["Status"], state["ExitCode"]

    until(lambda: ended == trained(), "the trainer to end", TRAIN_S)
    assert "val_accuracy" in stack.logs("trainer")
    assert "done; model in /output/" in stack.logs("trainer")
    assert "no DATA given: made 400 JPEG files" in stack.logs("images")
    stack.up(workers=1)
    until(
        lambda: "trained for 1 epochs already" in stack.logs("trainer"), "the trainer to see that it is done", TRAIN_S
    )
    until(lambda: ended == trained(), "the trainer to end", TRAIN_S)
    assert 1 == stack.logs("images").count("made 400"), "once is enough"
    assert 1 == stack.logs("keys").count("made keys")
    stack.run("down", "--volumes")
    assert [] == left(stack)


def test_a_command_without_data_does_not_go_on_with_other_images(project: MakeProject, data: Path, root: Path) -> None:
    """`up --scale` in a shell without DATA starts nothing and says why; with DATA the stack is there again."""
    mine = project(DATA=data)
    mine.up("sink", "worker", workers=1)
    other = Project(root, mine.name, mine.scratch, PORT=mine.port, DASHBOARD_PORT=mine.dashboard_port)
    said = other.run("up", "--detach", "--no-build", "--scale", "worker=2", "sink", "worker", check=False)
    assert "images" in said
    assert f"this stack was started with DATA={data}, which this command leaves out" in mine.logs("images")
    assert [] == mine.containers("ventilator")
    mine.up("sink", "worker", workers=2)
    with mine.feed() as feed:
        assert 32 == len(next(iter(feed))["label"])


def test_a_stack_on_data_is_a_project_of_its_own(root: Path, engine: None) -> None:
    """So a command that leaves DATA out finds no container of it, and can stop none."""
    del engine
    unset = {name: value for name, value in os.environ.items() if name not in ("DATA", "COMPOSE_PROJECT_NAME")}
    names = []
    for variables in ({}, {"DATA": ""}, {"DATA": "/photos"}):
        command = ["docker", "compose", "--project-directory", str(root), "config", "--format", "json"]
        done = subprocess.run(command, env=unset | variables, capture_output=True, text=True, timeout=60, check=True)
        names.append(json.loads(done.stdout)["name"])
    assert ["penstock", "penstock", "penstock-data"] == names


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("empty", "DATA is an empty folder; give one with a folder of images for each class"),
        ("garbage", "no file"),
        ("closed", "DATA cannot be read by user 10001:10001 of the containers; open it to others, or say RUN_AS="),
        ("missing", "bind source path does not exist"),
    ],
)
def test_data_that_cannot_be_used_is_said_in_words(what: str, words: str, project: MakeProject, tmp_path: Path) -> None:
    """Before anything is started, with what to do, by `up` or in the log of the one-shot service that looks at it."""
    folder = tmp_path / "images"
    if what != "missing":
        folder.mkdir()
        folder.chmod(0o700 if what == "closed" else 0o755)
    if what == "garbage":
        (folder / "cats").mkdir()
        (folder / "cats" / "notes.txt").write_text("no image")
    stack = project(DATA=folder)
    said = stack.run("up", "--detach", "--no-build", "ventilator", check=False)
    assert words in said + stack.logs("images")
    assert [] == stack.containers("ventilator")
    assert (what == "missing") == (not folder.exists()), "no folder is made where DATA names none"


def test_a_spec_that_is_wrong_is_said_in_words(project: MakeProject, data: Path, tmp_path: Path) -> None:
    """With the field, and nothing is started."""
    spec = tmp_path / "spec.toml"
    spec.write_text("[streams.train]\nbatchsize = 3\n")
    spec.chmod(0o644)
    stack = project(DATA=data, SPEC=spec)
    assert "didn't complete successfully" in stack.run("up", "--detach", "--no-build", "sink", check=False)
    assert "streams.train.batchsize" in stack.logs("images")


def test_images_that_only_their_owner_may_read_are_used_as_their_owner(project: MakeProject, tmp_path: Path) -> None:
    """RUN_AS lets the containers run as another user, who then owns the keys too."""
    folder = make_images(tmp_path / "images", each=8)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    owner = folder.stat()
    stack = project(DATA=folder, RUN_AS=f"{owner.st_uid}:{owner.st_gid}")
    stack.up("sink", "worker", workers=1)
    with stack.feed() as feed:
        assert 4 * 12 == sum(len(batch["label"]) for batch in feed)
    assert owner.st_uid == json.loads(
        stack.run("exec", "--no-TTY", "sink", "python", "-c", "import os; print(os.geteuid())")
    )
