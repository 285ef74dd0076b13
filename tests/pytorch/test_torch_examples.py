"""The examples for PyTorch and JAX run as they are written: small, killed in the middle, and resumed."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image, ImageDraw
from support.streams import run_stack, until

from penstock.launcher.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.torch]

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture(scope="module")
def served(photos: Path) -> Iterator[LocalStack]:
    """Return a stack of the examples' spec, with small samples in small batches."""
    spec: dict[str, Any] = tomllib.loads((EXAMPLES / "imagenet.toml").read_text(encoding="utf-8"))
    spec["roots"] = {"photos": str(photos)}
    for stream in spec["streams"].values():
        stream["batch_size"] = 8
        stream["transform"]["recipe"] = {"name": stream["transform"]["recipe"], "size": 32}
    with run_stack(spec, workers=1) as running:
        yield running


def start(arguments: list[str], folder: Path, **more: str) -> subprocess.Popen[str]:
    """Start a program that is told no rank."""
    environ = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environ |= {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", **more}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environ,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(program: subprocess.Popen[str]) -> None:
    """Kill a program and all that it started: torchrun's ranks have sessions of their own."""
    parent = psutil.Process(program.pid)
    for process in (parent, *parent.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    program.communicate(timeout=60)


def finished(program: subprocess.Popen[str]) -> str:
    """Wait for a program's good end; return what it said."""
    try:
        said, why = program.communicate(timeout=300)
    finally:
        if program.poll() is None:
            kill(program)
    assert 0 == program.returncode, why[-3000:]
    return said


def test_two_ranks_train_and_one_process_goes_on(served: LocalStack, tmp_path: Path) -> None:
    """By torchrun and gloo, killed after the first checkpoint; then alone, with the epoch that was broken off."""
    command = [str(EXAMPLES / "torch_imagenet.py"), served.address, "--width=8", "--lr=0.01"]
    saved = tmp_path / "run" / "checkpoint.pt"
    ranks = start([*TORCHRUN, *command, "--epochs=1000", "--save-every=2"], tmp_path)
    try:
        until(saved.exists, "the first checkpoint", 240)
    finally:
        kill(ranks)
    torch: Any = __import__("torch")
    epoch = served.feed("train").epoch_of(int(torch.load(saved, weights_only=True)["loader"]["position"]))
    said = finished(start([*command, f"--epochs={epoch + 2}"], tmp_path))
    trained = re.findall(r"^epoch (\d+): loss \d+\.\d+,", said, re.MULTILINE)
    assert [epoch, epoch + 1] == [int(number) for number in trained]


def test_views_of_images_teach_without_labels(photos: Path, tmp_path: Path) -> None:
    """DINO's views, of two sizes, on two ranks and then on one: each epoch once; views of an image grow alike."""
    spec: dict[str, Any] = tomllib.loads((EXAMPLES / "dino.toml").read_text(encoding="utf-8"))
    spec["roots"] = {"photos": str(photos)}
    train = spec["streams"]["train"]
    train["transform"]["recipe"] |= {"size": 32, "local_views": 2}
    train["batch_size"] = 8
    with run_stack(spec, workers=1) as running:
        command = [str(EXAMPLES / "torch_dino.py"), running.address, "--width=8", "--outputs=64", "--rate=0.002"]
        said = finished(start([*TORCHRUN, *command, "--epochs=2"], tmp_path))
        said += finished(start([*command, "--epochs=6"], tmp_path))
    trained = re.findall(r"^epoch (\d+): loss (\d+\.\d+), (\d+)% found", said, re.MULTILINE)
    assert list(range(6)) == [int(epoch) for epoch, *_ in trained]
    losses = [float(loss) for _, loss, _ in trained]
    assert losses[-1] < losses[2]  # before, the centre is not yet that of the outputs
    assert np.mean([int(found) for *_, found in trained]) > 100 / 8  # what chance would find


def test_a_detector_finds_what_it_was_shown(tmp_path: Path) -> None:
    """Ellipses and rectangles on noise, in the layout of COCO: it finds most after some epochs, also resumed."""
    shown = write_shapes(tmp_path / "set", count=96)
    spec: dict[str, Any] = tomllib.loads((EXAMPLES / "detection.toml").read_text(encoding="utf-8"))
    spec["roots"] = {"photos": str(shown)}
    train = spec["streams"]["train"]
    train["transform"]["recipe"]["size"] = 64
    train["targets"]["boxes"]["classes"] = list(SHAPES)
    with run_stack(spec, workers=1) as running:
        command = [str(EXAMPLES / "torch_detection.py"), running.address, "--width=16", "--rate=0.005"]
        said = finished(start([*command, "--epochs=6"], tmp_path)) + finished(
            start([*command, "--epochs=12"], tmp_path)
        )
    trained = re.findall(r"^epoch (\d+): loss \d+\.\d+, (\d+)% found", said, re.MULTILINE)
    assert list(range(12)) == [int(epoch) for epoch, _ in trained]
    assert int(trained[0][1]) < 50 < int(trained[-1][1])


#: Classes of the set that is made for the detector.
SHAPES = ("ellipse", "rectangle")


def write_shapes(root: Path, count: int) -> Path:
    """Write images of one or two bright shapes on dark noise, and their boxes; return the folder."""
    rng = np.random.default_rng(3)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    for number in range(count):
        width, height = (int(side) for side in rng.integers(64, 96, 2))
        picture = Image.fromarray(rng.integers(0, 80, (height, width, 3), np.uint8))
        for _ in range(int(rng.integers(1, 3))):
            side = rng.integers(20, 40, 2)
            left, top = (int(rng.integers(0, most - one)) for most, one in zip((width, height), side, strict=True))
            box = [left, top, left + int(side[0]), top + int(side[1])]
            label = int(rng.integers(0, 2))
            color = tuple(int(level) for level in rng.integers(150, 256, 3))
            getattr(ImageDraw.Draw(picture), SHAPES[label])(box, fill=color)
            bounds = {"bbox": [left, top, int(side[0]), int(side[1])], "area": int(side.prod()), "iscrowd": 0}
            annotations.append(bounds | {"id": len(annotations), "image_id": number, "category_id": label + 1})
        images.append({"id": number, "file_name": f"{number}.jpg", "width": width, "height": height})
        picture.save(root / "train2017" / f"{number}.jpg", quality=95)
    categories = [{"id": number, "name": name} for number, name in enumerate(SHAPES, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    return root


def test_jax_trains_on_a_mesh_and_goes_on(served: LocalStack, tmp_path: Path) -> None:
    """On four simulated devices, and after its end on one: from the next epoch on."""
    command = [str(EXAMPLES / "jax_mesh.py"), served.address]
    many = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    said = finished(start([*command, "--epochs=2"], tmp_path, **many))
    assert ["0", "1"] == re.findall(r"^epoch (\d): loss \d+\.\d+ on 4 device", said, re.MULTILINE)
    said = finished(start([*command, "--epochs=3"], tmp_path))
    assert ["2"] == re.findall(r"^epoch (\d): loss \d+\.\d+ on 1 device", said, re.MULTILINE)
