"""`docker compose --profile hdf5 up`: a file instead of a trainer."""

import json
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from compose.project import COMMAND_S, MakeProject
from support.streams import digest, epochs, run_stack, take, until

pytestmark = [pytest.mark.compose, pytest.mark.slow]


#: Epochs to write, of 23 batches each.
EPOCHS = 6


def test_the_file_holds_what_a_trainer_would_get(project: MakeProject, data: Path, spec: Path, tmp_path: Path) -> None:
    """Workers write into a mounted folder; killed, the writer goes on where it was: the bytes of a local run.

    It keeps step with a trainer until it is killed, so that it is in the midst of it, however fast it may be.
    """
    output = tmp_path / "output"
    output.mkdir()
    output.chmod(0o777)
    changes = tmp_path / "changes.json"
    slowly = {"PENSTOCK_PIECE_MB": "0.5", "PENSTOCK_WAIT_FOR_TRAINERS": "1"}
    changes.write_text(json.dumps({"services": {"writer": {"environment": slowly}}}))
    stack = project(changes, DATA=data, SPEC=spec, OUTPUT=output, EPOCHS=EPOCHS)
    stack.profiles = ("hdf5",)
    stack.up(workers=1)
    with stack.feed() as feed:
        take(feed, 40)
        until(lambda: stack.health("writer").get("writer", {}).get("committed"), "the writer to commit", COMMAND_S)
        stack.run("kill", "writer")
        assert [] == stack.events("writer", "output finished"), "it keeps step with the trainer"
        stack.up(workers=4)
        take(feed, 10)
    until(lambda: stack.events("writer", "output finished"), "the file to be finished", COMMAND_S)
    first, *_, then = stack.events("writer", "writing")  # the ventilator may have lost the writer for a moment, too
    assert 0 == first["from"] < then["from"] < then["to"]
    local = tomllib.loads(spec.read_text()) | {"roots": {"images": str(data)}}
    with run_stack(local, workers=2) as undisturbed:
        batches = epochs(undisturbed.feed(), EPOCHS)
    expected = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    with h5py.File(output / "penstock.h5") as file:
        got = {name: np.asarray(file[name]) for name in expected}
    assert digest([expected]) == digest([got])
    assert [] == stack.run("ps", "--all", "--quiet", "trainer", check=False).split(), "no trainer runs"


def test_a_folder_that_cannot_be_written_to_is_said_in_words(project: MakeProject, data: Path, tmp_path: Path) -> None:
    """Before anything is made for it."""
    output = tmp_path / "output"
    output.mkdir(mode=0o755)
    stack = project(DATA=data, OUTPUT=output)
    stack.profiles = ("hdf5",)
    assert "didn't complete successfully" in stack.run("up", "--detach", "--no-build", check=False)
    assert "OUTPUT cannot be written by user 10001:10001 of the containers (Permission denied)" in stack.logs("output")
    assert [] == stack.containers("writer")
