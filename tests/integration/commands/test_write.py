"""A stream written to an HDF5 file is what a trainer would have got, however the writing went."""

import itertools
import json
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import (
    DEADLINE_S,
    Batch,
    digest,
    epochs,
    make_images,
    make_spec,
    make_stream,
    run_stack,
    take,
    told,
    until,
)
from support.web import serve
from support.written import Run, opened, run_to_end, wait_for_samples, write_spec

from penstock.commands.write import main
from penstock.launcher.stack import LocalStack
from penstock.protocol.wire import Array

pytestmark = pytest.mark.integration

#: Two epochs, in many small pieces.
WRITER = {"writer": "hdf5", "epochs": 2, "piece_mb": 0.3, "piece_s": 0.2, "full_disk_wait_s": 0.0}
#: Where a trainer and the writer keep step: the writer would go on without one that a busy machine keeps from its turn.
PATIENT = {"silence_s": 30.0}


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

    def finished() -> dict[str, Any]:
        assert stack.error is None, stack.error
        writer: dict[str, Any] = stack.status()["sink"].get("writer") or {}
        return writer if writer.get("state") == "finished" else {}

    return until(finished, "the file to be finished")


def wait_until_committed(stack: LocalStack, samples: int) -> None:
    """Wait until that many samples will last."""
    until(
        lambda: (stack.status()["sink"].get("writer") or {}).get("committed", 0) >= samples,
        f"{samples} to be committed",
    )


def read(output: Path) -> dict[str, Array]:
    """Return the fields of a file that hold a row a sample."""
    with opened(output) as file:
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
    with opened(output) as file:
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
    """Killed twice between commits: what was committed is kept and can be read, the rest is made again.

    A trainer that the writer keeps step with, and that takes its time, keeps the file from being finished before.
    """
    output = tmp_path / "patches.h5"
    options = {**WRITER, "output": str(output), "wait_for_trainers": 1, **PATIENT}
    with run_stack(spec, workers=2, sink=options, ventilator=PATIENT) as stack, stack.feed(prefetch=1) as beside:
        for committed, batches in ((1, 5), (150, 8)):
            take(beside, batches)
            wait_until_committed(stack, committed)
            stack.children["sink"].process.kill()
            partly = read(output)
            for name, array in partly.items():
                if name != "epoch":
                    np.testing.assert_array_equal(reference[name][: len(array)], array, err_msg=name)
            assert committed <= len(partly["label"]) < len(reference["label"])
        take(beside, 3)  # more than is here already: the third sink lets the trainer in, and so the writer begins
        beside.close()
        said = wait_until_finished(stack)
        assert 2 == stack.children["sink"].restarts
    assert 0 < said["resumed"] < said["samples"]
    check(output, reference)


@pytest.mark.parametrize(
    "sharing",
    [{}, pytest.param({"shared_memory": False}, marks=pytest.mark.long)],
    ids=["shared memory", "sockets"],
)
def test_a_trainer_beside_the_writer_gets_what_is_written(
    sharing: dict[str, Any], spec: dict[str, Any], reference: dict[str, Array], tmp_path: Path
) -> None:
    """The same bytes, each result made once: the writer begins with the trainer, and both keep step."""
    output = tmp_path / "patches.h5"
    options = {"output": str(output), "wait_for_trainers": 1, **sharing, **PATIENT}
    with run_stack(spec, workers=2, sink={**WRITER, **options}, ventilator=PATIENT, worker=sharing) as stack:
        got = epochs(stack.feed(), 2)
        wait_until_finished(stack)
        results = told(stack, "sink")["results"]
    digest_of_file = {name: array for name, array in read(output).items() if name != "epoch"}
    assert digest(got) == digest(cut(digest_of_file, got))
    # 20 tasks an epoch, and a few that the trainer asks for ahead: none was made for each of the two.
    assert 40 <= results["accepted"] < 60
    check(output, reference)


def cut(fields: Mapping[str, Array], batches: list[Batch]) -> list[Batch]:
    """Return the rows of a file as batches of the same sizes."""
    stops = np.cumsum([len(batch["label"]) for batch in batches])
    return [
        {name: array[stop - len(batch["label"]) : stop] for name, array in fields.items()}
        for stop, batch in zip(stops.tolist(), batches, strict=True)
    ]


@pytest.mark.long
def test_a_slow_writer_says_so_and_costs_the_trainer_no_sample(tmp_path: Path) -> None:
    """It compresses far slower than the workers work: the trainer waits, and both get everything."""
    pytest.importorskip("hdf5plugin")  # reads zstd
    root = make_images(tmp_path / "photos", each=60)
    spec = make_spec(root, train=make_stream(patches=108, window_mb=2.0))
    with run_stack(spec, workers=2) as stack:
        expected = digest(epochs(stack.feed(), 1))
    output, run_dir = tmp_path / "out.h5", tmp_path / "run"
    options = {**WRITER, "epochs": 1, "output": str(output), "wait_for_trainers": 1, "compression": "zstd:22"}
    with run_stack(spec, workers=2, sink=options, run_dir=run_dir) as stack:
        got = epochs(stack.feed(), 1)
        wait_until_finished(stack)
    assert expected == digest(got)
    fields = {name: array for name, array in read(output).items() if name != "epoch"}
    assert expected == digest(cut(fields, got))
    assert "held up by writer" in (run_dir / "sink.log").read_text(encoding="utf-8")


@pytest.mark.long
def test_a_trainer_that_leaves_does_not_stop_the_writer(
    spec: dict[str, Any], reference: dict[str, Array], tmp_path: Path
) -> None:
    """Nor does one that reads from somewhere else."""
    output = tmp_path / "patches.h5"
    with writing(spec, output, wait_for_trainers=1) as stack:
        with stack.feed() as leaving:
            take(leaving, 3)
        other = stack.feed()
        other.seek(400)
        take(other, 3)
        wait_until_finished(stack)
        assert 3 == len(take(other, 3)), "the sink goes on serving trainers"
    check(output, reference)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "mine.h5"], "mine.h5: it is no HDF5 file of Penstock's"),
        (["-o", "mine.h5", "--force"], "mine.h5: it is no HDF5 file of Penstock's"),
        (["-o", "no/out.h5"], "there is no folder"),
        (["-o", "out.h5", "--stream", "test"], "--stream 'test': no such stream; there are: train"),
        (["-o", "out.h5", "--layout", "per-manipulation"], "stream 'train' has no manipulations"),
        (["-o", "out.h5", "--compression", "zip"], "--compression 'zip'"),
        ([], "give a file to write: -o patches.h5"),
    ],
)
def test_what_cannot_be_written_ends_in_words_before_a_stack_is_started(
    options: list[str],
    words: str,
    spec: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command says what is wrong and what to do; nothing is touched."""
    monkeypatch.chdir(tmp_path)
    write_spec(tmp_path / "spec.json", spec)
    (tmp_path / "mine.h5").write_text("mine")
    assert 2 == main(["spec.json", *options])
    assert words in capsys.readouterr().err
    assert "mine" == (tmp_path / "mine.h5").read_text()
    assert ["mine.h5", "spec.json"] == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.slow
def test_an_interrupted_command_goes_on_when_it_is_given_again(
    spec: dict[str, Any], reference: dict[str, Array], tmp_path: Path
) -> None:
    """Ctrl-C says so; then a summary says what it came to; then there is nothing left to do.

    The images come from a server that keeps most of the first epoch's back until the command was interrupted.
    """
    output, options = tmp_path / "out.h5", ("--epochs", "2", "--piece-mb", "0.2", "--piece-s", "0.1", "--workers", "1")
    interrupted, asked = threading.Event(), itertools.count()

    def hold_back(path: str, _: int) -> str:
        if path.endswith(".jpg") and next(asked) >= 60:
            interrupted.wait(DEADLINE_S)
        return ""

    with serve(Path(spec["roots"]["photos"]), mischief=hold_back) as web:
        path = write_spec(tmp_path / "spec.json", spec | {"roots": {"photos": web.url}})
        run = Run(path, output, *options)
        wait_for_samples(run, 64, lasting=True)
        os.killpg(run.process.pid, signal.SIGINT)
        status, said = run.end()
        interrupted.set()
        check_interrupted(run, status, said, output, len(reference["label"]))
        said = run_to_end(path, output, *options)
        assert f"{len(reference['label'])} samples of stream 'train'" in said
        assert "2 items quarantined" in said
        assert "samples/s" in said
        check(output, reference)
        before = output.stat().st_mtime_ns
        assert "was finished already" in run_to_end(path, output, *options)
        assert before == output.stat().st_mtime_ns


def check_interrupted(run: Run, status: int, said: str, output: Path, samples: int) -> None:
    """Check that the command ended as one that was interrupted, and left a part of so many samples."""
    assert 130 == status, said
    assert "can be read as far as it is, and the same command goes on" in said
    assert 0 < len(read(output)["label"]) < samples
    assert not run.children()
