"""What `.ci/run` says of tiers: one that failed, or that this machine cannot run, is never mistaken for tested."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: All that the script may find here: no apt-get, no ip, no browser, and only the `docker` that a test puts there.
TOOLS = ("bash", "dirname", "grep", "id", "mkdir", "tail", "tee", "timeout")
SUMMARY = "===== 7 passed in 1.23s ====="


class Machine:
    """A clean clone on a machine with nothing but a `make`, which writes down the targets that are asked for."""

    def __init__(self, root: Path, folder: Path) -> None:
        """Make the clone, with the repository's own script."""
        self.clone, self._bin, self._shared = folder / "clone", folder / "bin", folder / "shared" / "engine"
        for path in (self.clone / ".ci", self._bin, self._shared):
            path.mkdir(parents=True)
        shutil.copy(root / ".ci" / "run", self.clone / ".ci")
        for tool in TOOLS:
            (self._bin / tool).symlink_to(shutil.which(tool) or tool)
        self.program(self._bin / "make", f'echo "$@" >> made; echo "${{SAYS:-{SUMMARY}}}"; [[ "$*" != *"$FAILS" ]]')

    @staticmethod
    def program(path: Path, text: str) -> None:
        """Write a script."""
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def docker(self, status: int) -> None:
        """Put a `docker` there, whose engine answers or not."""
        self.program(self._bin / "docker", f"exit {status}")

    def engine(self, text: str) -> None:
        """Put an engine next to the clone that is started by what `text` prints, and stopped by writing `down`."""
        self.program(self._shared / "up", text)
        self.program(self._shared / "down", "echo engine-down >> made")

    def run(self, fails: str = "nothing", says: str = "", **variables: str) -> tuple[int, list[str], list[str]]:
        """Run the script; return its exit status, what it said, and what was asked of `make` and the engine."""
        done = subprocess.run(
            [self.clone / ".ci" / "run"],
            env={"PATH": str(self._bin), "HOME": os.devnull, "FAILS": fails, "SAYS": says, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.splitlines(), (self.clone / "made").read_text().splitlines()


@pytest.fixture
def machine(root: Path, tmp_path: Path) -> Machine:
    """Return a machine."""
    return Machine(root, tmp_path)


@pytest.mark.parametrize("engine", ["none", "does not start", "starts and does not answer"])
def test_a_tier_of_containers_without_an_engine_is_said_to_be_skipped(engine: str, machine: Machine) -> None:
    """Loudly, before the last line; all else is run."""
    if engine != "none":
        machine.docker(1)
        machine.engine("exit 1" if engine == "does not start" else "echo export DOCKER_HOST=unix:///nowhere")
    status, said, made = machine.run()
    assert (0, SUMMARY) == (status, said[-1])
    assert "SKIPPED, NOT TESTED HERE: compose: no Docker engine with Compose answers" in said
    assert "test-compose" not in made
    assert {"--keep-going check", "test-long", "test"} <= set(made)
    assert (engine != "none") == ("engine-down" in made), "what was begun is ended"


@pytest.mark.parametrize("engine", ["beside the clone", "the machine's own"])
def test_an_engine_that_answers_gets_its_tier(engine: str, machine: Machine) -> None:
    """One that is started for it, or the machine's own; a failure there is the script's."""
    machine.docker(0)
    if engine == "beside the clone":
        machine.engine("echo export DOCKER_HOST=unix:///somewhere")
    status, said, made = machine.run()
    assert (0, 1) == (status, made.count("test-compose"))
    assert "compose" not in " ".join(said)
    status, said, _ = machine.run(fails="test-compose")
    assert (1, SUMMARY) == (status, said[-1])
    assert "FAILED: make test-compose" in said


def test_a_cluster_is_tested_where_its_build_is_kept(machine: Machine, tmp_path: Path) -> None:
    """Its build takes minutes, so CI makes none: the tier is left out, loudly, unless there is a complete one."""
    machine.docker(0)
    kept = tmp_path / "kept"
    kept.mkdir()
    status, said, made = machine.run(PENSTOCK_KUBERNETES=str(kept))
    assert (0, False) == (status, "test-kubernetes" in made)
    assert f"SKIPPED, NOT TESTED HERE: kubernetes: no build in {kept} (`make test-kubernetes` makes it)" in said
    (kept / "complete").touch()
    status, said, made = machine.run(PENSTOCK_KUBERNETES=str(kept))
    assert (0, 1) == (status, made.count("test-kubernetes"))
    assert "kubernetes" not in " ".join(said)
    machine.docker(1)
    assert (
        "SKIPPED, NOT TESTED HERE: kubernetes: no Docker engine answers"
        in machine.run(PENSTOCK_KUBERNETES=str(kept))[1]
    )


@pytest.mark.parametrize("target", ["check", "test-long", "test"])
def test_what_fails_is_named_and_fails_all(target: str, machine: Machine) -> None:
    """The last line stays the summary of `make test`."""
    status, said, made = machine.run(fails=target)
    assert (1, SUMMARY) == (status, said[-1])
    assert f"FAILED: make {target}" in said
    assert "test" == made[-1], "the rest is run all the same"


def test_tests_that_a_tier_left_out_are_counted(machine: Machine) -> None:
    """A tier of which all was skipped passes, and says so where it is read; one of which nothing was says nothing."""
    summary = "===== 2 passed, 3 skipped in 1.23s (0:00:01) ====="
    assert (0, summary) == ((done := machine.run(says=summary))[0], done[1][-1])
    assert "SKIPPED, NOT TESTED HERE: long: 3 skipped, see build/long.log" in done[1]
    assert "long: " not in " ".join(machine.run()[1])
