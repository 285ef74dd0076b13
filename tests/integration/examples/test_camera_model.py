"""The camera model example, as its README says: photos, a file of patches, training, Ctrl-C, resuming, evaluation."""

import csv
import json
import runpy
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from support.streams import until

pytestmark = [pytest.mark.integration, pytest.mark.long]

#: Longest that a script may take (s): TensorFlow alone needs a minute on a machine that is busy.
DEADLINE_S = 600.0
#: Small enough for seconds on a processor: 4 batches of 16 an epoch, and a narrow network.
SIDES = {"train": 64, "validation": 72}
NARROW = ["--alpha", "0.25", "--dense", "16", "--workers", "1", "--validation-batch", "16"]
NAMES = {"img", "gamma08", "gamma12", "qf90", "qf70", "bicubic05", "bicubic08", "bicubic15", "bicubic20"}


class Example:
    """The example's folder, and one in which it runs."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.source, self.folder = root / "examples" / "camera_model", folder

    def start(self, script: str, *options: str) -> subprocess.Popen[str]:
        """Start one of its scripts; what it says goes to files in the folder."""
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            command = [sys.executable, str(self.source / script), *options]
            return subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=err, text=True)

    def run(self, script: str, *options: str, status: int = 0) -> str:
        """Run one to its end; return what it said."""
        with self.start(script, *options) as process:
            try:
                assert status == process.wait(DEADLINE_S), self.said("err")[-3000:]
            finally:
                process.kill()
        return self.said("out") + self.said("err")

    def said(self, stream: str = "out") -> str:
        """Return what the script has said so far."""
        return (self.folder / stream).read_text(encoding="utf-8")

    def write_spec(self, photos: Path, classes: int, each: int) -> None:
        """Write the example's spec with small patches, and the file to validate on."""
        spec = tomllib.loads((self.source / "camera.toml").read_text(encoding="utf-8"))
        spec["roots"] = {"photos": str(photos), "lists": str(self.folder / "lists")}
        for name, side in SIDES.items():
            spec["streams"][name]["transform"]["patch"] |= {"height": side, "width": side}
        spec["streams"]["train"] |= {"batch_size": 16, "patches": 64 // (classes * each)}
        (self.folder / "camera.json").write_text(json.dumps(spec), encoding="utf-8")
        write = ["write", "camera.json", "--stream", "validation", "-o", "validation.h5", "--workers", "1"]
        command = [sys.executable, "-m", "penstock", *write, "--layout", "per-manipulation"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert 0 == done.returncode, done.stderr[-3000:]

    def history(self, run: str = "run") -> list[dict[str, str]]:
        """Return the epochs that a run has finished."""
        path = self.folder / run / "history.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Return the example with photos of its own making."""
    example = Example(root, tmp_path_factory.mktemp("camera"))
    said = example.run("photos.py", "make", "made", "-o", "lists", "--each", "4", "--held-out", "0.4")
    assert "8 photos of 4 camera models" in said
    example.write_spec(example.folder / "made", classes=4, each=2)
    return example


def training(*options: str) -> list[str]:
    """Return the options of a training of the narrow network."""
    return ["--spec", "camera.json", "--validation", "validation.h5", *NARROW, *options]


def test_it_trains_is_interrupted_goes_on_and_is_evaluated(
    made: Example, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in the second epoch or later; the same command goes on where the checkpoint is, and never twice."""
    options = training("--save-every", "1")
    with made.start("train.py", *options, "--epochs", "1000") as process:
        try:
            until(lambda: len(made.history()) > 1 or process.poll() is not None, "two epochs", DEADLINE_S)
            process.send_signal(signal.SIGINT)
            assert 130 == process.wait(DEADLINE_S), made.said("err")[-3000:]
        finally:
            process.kill()
    assert "interrupted: the same command goes on" in made.said("err")
    before = len(made.history())
    state = json.loads((made.folder / "run/checkpoint/state.json").read_text(encoding="utf-8"))
    assert 64 * (before - 1) < state["feed"]["position"] <= 64 * (before + 1)
    parameters = json.loads((made.folder / "run/run.json").read_text(encoding="utf-8"))
    assert ["Alder A1", "Birch B2", "Cedar C3", "Elm E5"] == parameters["classes"]
    assert ([64, 64, 3], True, 1000) == (parameters["image"], parameters["flag"], parameters["epochs"])
    assert 8.0 == parameters["train"]["spec"]["transform"]["manipulations"]["unchanged_weight"]

    said = made.run("train.py", *options, "--epochs", str(before + 2))
    assert "waiting for batches took" in said
    assert "Epoch 1/" not in said
    history = made.history()
    seen = [int(row["epoch"]) for row in history]
    assert sorted(set(seen)) == seen  # none twice
    assert set(range(before + 2)) - set(seen) <= {before}  # the interrupt may fall between its last batch and its end
    assert all(0.0 <= float(row["val_accuracy"]) <= 1.0 for row in history)
    assert all(float(row["val_loss"]) > 0.0 for row in history)
    assert (before + 2) * 64 == json.loads((made.folder / "run/checkpoint/state.json").read_text())["feed"]["position"]

    monkeypatch.chdir(made.folder)
    assert 0 == runpy.run_path(str(made.source / "evaluate.py"))["main"](["run", "validation.h5"])
    said = capsys.readouterr().out
    found = json.loads((made.folder / "run/evaluation.json").read_text(encoding="utf-8"))
    assert NAMES == set(found)
    assert all(f"{name}  " in said for name in found)
    assert "of 32" in said  # 8 photos, 4 patches each


def test_what_does_not_fit_is_refused_in_words(
    made: Example, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is trained: options, weights, a file of other cameras, another network in the same run."""
    monkeypatch.chdir(made.folder)
    train, evaluate = (runpy.run_path(str(made.source / name))["main"] for name in ("train.py", "evaluate.py"))
    for options, words in [
        (["--validation", "elsewhere.h5"], "'elsewhere.h5': no such file"),
        (["--alpha", "0"], "--alpha 0.0: give a number above 0"),
        (["--epochs", "0"], "--epochs 0: give 1 or more"),
        (["--root", "photos"], "--root 'photos': give name=/path"),
    ]:
        with pytest.raises(SystemExit):
            train(training(*options))
        assert words in capsys.readouterr().err
    (made.folder / "other").mkdir()
    changed = {"classes": ["Nikon D90", "Sony DSC-G1"], "image": [64, 64, 3], "alpha": 0.25, "dense": 16, "flag": True}
    (made.folder / "other/run.json").write_text(json.dumps(changed), encoding="utf-8")
    with h5py.File(made.folder / "others.h5", "w") as file:
        file["label"] = np.zeros(2, np.int32)
        file["img"] = file["qf90"] = np.zeros((2, 72, 72, 3), np.uint8)
        file.attrs["classes"] = ["Nikon D90", "Sony DSC-G1"]
    (made.folder / "weights.h5").write_bytes(b"no weights")
    with pytest.raises(SystemExit):
        train(["--connect", "tcp://localhost:1", "--root", "photos=x", "--validation", "validation.h5"])
    assert "--root and --workers are of --spec" in capsys.readouterr().err
    for options, words in [
        (["--run", "other"], "this run was begun with classes = ['Nikon D90', 'Sony DSC-G1']"),
        (["--run", "third", "--validation", "others.h5"], "'others.h5' holds the classes Nikon D90, Sony DSC-G1, and"),
        (["--run", "third", "--weights", "weights.h5"], "--weights 'weights.h5' do not fit a MobileNet"),
    ]:
        assert 2 == train(training(*options))
        assert words in capsys.readouterr().err
    assert 2 == evaluate(["nowhere", "validation.h5"])
    assert "'nowhere/run.json': no such file" in capsys.readouterr().err


def test_it_learns_from_real_photos_without_the_flag(shared_data: Path, root: Path, tmp_path: Path) -> None:
    """One photo a model, in both lists; two batches, validated, without the second input."""
    example = Example(root, tmp_path)
    said = example.run("photos.py", "list", str(shared_data / "camera"), "-o", "lists")
    assert "14 of these models have a single photo" in said
    example.write_spec(shared_data / "camera", classes=14, each=1)
    example.run("train.py", *training("--epochs", "1", "--steps", "2", "--no-flag", "--run", "real"))
    [epoch] = example.history("real")
    assert 0.0 <= float(epoch["val_accuracy"]) <= 1.0
    parameters: dict[str, Any] = json.loads((tmp_path / "real/run.json").read_text(encoding="utf-8"))
    models: Sequence[str] = sorted(path.stem for path in (shared_data / "camera").glob("*.jpg"))
    assert models == parameters["classes"]
    assert (tmp_path / "real/best.keras").is_file()


def test_the_lists_name_every_photo_once(root: Path, tmp_path: Path) -> None:
    """By folder, whatever the ending; a lone photo in both lists; a folder without photos is refused in words."""
    example = Example(root, tmp_path)
    for path in ("a/1.jpg", "a/2.JPG", "a/3.png", "b, c/1.jpg", "alone.jpg", "notes.txt"):
        (tmp_path / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / path, "PNG")
    example.run("photos.py", "list", "photos", "-o", "lists", "--held-out", "0.3")
    lists = {}
    for name in ("train", "validation"):
        with (tmp_path / "lists" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            lists[name] = [(row["path"], row["model"]) for row in csv.DictReader(file)]
    assert [("a/2.JPG", "a"), ("a/3.png", "a"), ("alone.jpg", "alone"), ("b, c/1.jpg", "b, c")] == lists["train"]
    assert [("a/1.jpg", "a"), ("alone.jpg", "alone"), ("b, c/1.jpg", "b, c")] == lists["validation"]
    (tmp_path / "empty").mkdir()
    assert "photos of 0 camera model(s); at least two" in example.run("photos.py", "list", "empty", status=1)
