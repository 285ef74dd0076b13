"""`docker compose --profile hdf5 up`: a file instead of a trainer."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from compose.project import MakeProject
from streams import Batch, digest, until

pytestmark = [pytest.mark.compose, pytest.mark.slow]


def test_the_file_holds_what_a_trainer_would_get(
    project: MakeProject, data: Path, spec: Path, reference: list[Batch], tmp_path: Path
) -> None:
    """Two epochs by four workers into a mounted folder, through a kill of the writer: the bytes of a local run."""
    output = tmp_path / "output"
    output.mkdir()
    output.chmod(0o777)
    stack = project(DATA=data, SPEC=spec, OUTPUT=output, EPOCHS=2)
    stack.profiles = ("hdf5",)
    stack.up(workers=4)
    until(lambda: stack.events("writer", "writing"), "the writer to begin")
    stack.run("kill", "writer")
    stack.up(workers=4)
    until(lambda: {line["event"] for line in stack.events("writer", "output finished")}, "the file to be finished")
    expected = {name: np.concatenate([batch[name] for batch in reference]) for name in reference[0]}
    with h5py.File(output / "penstock.h5") as file:
        got = {name: np.asarray(file[name]) for name in expected}
    assert digest([expected]) == digest([got])
    assert [] == stack.run("ps", "--all", "--quiet", "trainer", check=False).split(), "nobody trains"


def test_a_folder_that_cannot_be_written_to_is_said_in_words(project: MakeProject, data: Path, tmp_path: Path) -> None:
    """Before anything is made for it."""
    output = tmp_path / "output"
    output.mkdir(mode=0o755)
    stack = project(DATA=data, OUTPUT=output)
    stack.profiles = ("hdf5",)
    assert "didn't complete successfully" in stack.run("up", "--detach", "--no-build", check=False)
    assert "OUTPUT cannot be written by user 10001:10001 of the containers (Permission denied)" in stack.logs("output")
    assert [] == stack.containers("writer")
