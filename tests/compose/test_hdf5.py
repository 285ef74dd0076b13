"""`docker compose --profile hdf5 up`: a file instead of a trainer."""

import json
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from compose.project import MakeProject
from streams import digest, epochs, run_stack, until

pytestmark = [pytest.mark.compose, pytest.mark.slow]


#: Epochs to write: enough that the writer can be killed in their midst.
EPOCHS = 20


def test_the_file_holds_what_a_trainer_would_get(project: MakeProject, data: Path, spec: Path, tmp_path: Path) -> None:
    """Workers write into a mounted folder; killed, the writer goes on where it was: the bytes of a local run."""
    output = tmp_path / "output"
    output.mkdir()
    output.chmod(0o777)
    changes = tmp_path / "changes.json"
    changes.write_text(json.dumps({"services": {"writer": {"environment": {"PENSTOCK_PIECE_MB": "0.5"}}}}))
    stack = project(changes, DATA=data, SPEC=spec, OUTPUT=output, EPOCHS=EPOCHS)
    stack.profiles = ("hdf5",)
    stack.up(workers=1)
    until(lambda: stack.health("writer").get("writer", {}).get("committed"), "the writer to commit something")
    stack.run("kill", "writer")
    assert [] == stack.events("writer", "output finished"), "it was killed too late: let it write more epochs"
    stack.up(workers=4)
    until(lambda: stack.events("writer", "output finished"), "the file to be finished")
    first, then = stack.events("writer", "writing")
    assert 0 == first["from"] < then["from"] < then["to"]
    local = tomllib.loads(spec.read_text()) | {"roots": {"images": str(data)}}
    with run_stack(local, workers=2) as undisturbed:
        batches = epochs(undisturbed.feed(), EPOCHS)
    expected = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
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
