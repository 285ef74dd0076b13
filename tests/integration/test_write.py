"""A stream written to an HDF5 file is what a trainer would have got, however the writing went."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from streams import Batch, epochs, make_images, make_spec, run_stack, until

from penstock.protocol.wire import Array
from penstock.stack import LocalStack

pytestmark = pytest.mark.integration

#: Two epochs, in many small pieces.
WRITER = {"writer": "hdf5", "epochs": 2, "piece_mb": 0.3, "piece_s": 0.2, "full_disk_wait_s": 0.0}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return a spec over 2 × 40 JPEG files, one of which is none."""
    root = make_images(tmp_path_factory.mktemp("photos"), each=40)
    (root / "cat" / "0003.jpg").write_bytes(b"no picture at all")
    return make_spec(root)


@pytest.fixture(scope="module")
def reference(spec: dict[str, Any]) -> dict[str, Array]:
    """Return two epochs as a trainer gets them."""
    with run_stack(spec, workers=2) as stack:
        return joined(epochs(stack.feed(), 2))


def joined(batches: list[Batch]) -> dict[str, Array]:
    """Return the fields of all batches."""
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def writing(spec: Mapping[str, Any], output: Path, **options: Any) -> LocalStack:
    """Return a stack, not yet started, whose sink writes a file."""
    return run_stack(spec, workers=2, sink={**WRITER, "output": str(output), **options})


def wait_until_finished(stack: LocalStack) -> dict[str, Any]:
    """Return what the sink says of its writer once the file is complete."""

    def finished() -> dict[str, Any] | None:
        assert stack.error is None, stack.error
        writer: dict[str, Any] = stack.status()["sink"].get("writer") or {}
        return writer if writer.get("state") == "finished" else None

    return until(finished, "the file to be finished")


def wait_until_committed(stack: LocalStack, samples: int) -> None:
    """Wait until that many samples will last."""
    until(
        lambda: (stack.status()["sink"].get("writer") or {}).get("committed", 0) >= samples,
        f"{samples} to be committed",
    )


def read(output: Path) -> dict[str, Array]:
    """Return the fields of a file that hold a row a sample."""
    with h5py.File(output) as file:
        return {name: data[:] for name, data in file.items() if name not in ("paths", "quarantine")}


def check(output: Path, reference: Mapping[str, Array]) -> None:
    """Check that a finished file holds what a trainer got."""
    found = read(output)
    epoch = found.pop("epoch")
    assert sorted(reference) == sorted(found)
    for name, array in reference.items():
        assert array.dtype == found[name].dtype
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    half = len(epoch) // 2
    assert [0] * half + [1] * half == epoch.tolist()


def test_a_file_holds_what_a_trainer_would_get(
    spec: dict[str, Any], reference: dict[str, Array], tmp_path: Path
) -> None:
    """Every sample in order, what each was made from, and what could not be made."""
    output = tmp_path / "patches.h5"
    with writing(spec, output) as stack:
        said = wait_until_finished(stack)
    check(output, reference)
    assert [output] == [path for path in tmp_path.iterdir() if path.name.startswith("patches")]
    with h5py.File(output) as file:
        attributes = dict(file.attrs)
        assert ["cat", "dog"] == list(attributes["classes"])
        assert (1, True, 2, 11) == tuple(attributes[name] for name in ("penstock_format", "complete", "epochs", "seed"))
        assert "train" == json.loads(attributes["spec"])["name"]
        paths = file["paths"].asstr()[:]
        assert "cat/0003.jpg" == paths[3]
        labels = [0 if path.startswith("cat") else 1 for path in paths[file["item"][:]]]
        assert labels == file["label"][:].tolist()
        lost = {name: data[:].tolist() for name, data in file["quarantine"].items()}
        assert ([3, 3], [0, 1], [b"cat/0003.jpg"] * 2) == (lost["item"], lost["epoch"], lost["path"])
        assert (64, 32, 40, 3) == file["image"].chunks
    assert (len(reference["label"]), 2) == (said["samples"], said["quarantined"])


def test_a_killed_sink_goes_on_from_its_file(spec: dict[str, Any], reference: dict[str, Array], tmp_path: Path) -> None:
    """Killed twice between commits: what was committed is kept and can be read, the rest is made again."""
    output = tmp_path / "patches.h5"
    with writing(spec, output) as stack:
        for committed in (1, 150):
            wait_until_committed(stack, committed)
            stack.children["sink"].process.kill()
            partly = read(output)
            for name, array in partly.items():
                if name != "epoch":
                    np.testing.assert_array_equal(reference[name][: len(array)], array, err_msg=name)
            assert committed <= len(partly["label"])
        said = wait_until_finished(stack)
        assert 2 == stack.children["sink"].restarts
    assert 0 < said["resumed"] < said["samples"]
    check(output, reference)
