"""What the README and `examples/` show runs as it is written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.snippets import blocks_of
from support.streams import make_images

from penstock.commands.check import main as check

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: What the guide to resuming leaves to its reader: a network for the images and classes.
BUILD_MODEL = """
import keras

def build_model(classes):
    layers = [keras.Input((96, 96, 3), dtype="uint8"), keras.layers.Rescaling(1 / 255)]
    model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
"""


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's code blocks of one language."""
    return [block.text for block in blocks_of(page) if block.language == language]


def run(program: list[str], folder: Path) -> str:
    """Run a program in a folder to its end; return what it said."""
    command = [sys.executable, *program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    return done.stdout


def run_in_turn(*programs: list[str], folder: Path) -> list[str]:
    """Run programs one after the other in one process, which loads TensorFlow once; return what each said."""
    code = """
import json, runpy, sys
for sys.argv in json.loads(sys.argv[1]):
    runpy.run_path(sys.argv[0], run_name="__main__")
    print("=== its end")
"""
    *said, rest = run(["-c", code, json.dumps(programs)], folder).split("=== its end\n")
    assert (len(programs), "") == (len(said), rest)
    return said


@pytest.fixture
def photos_spec(tmp_path: Path) -> Path:
    """Return a folder with a spec, and a few images in `photos`."""
    make_images(tmp_path / "photos", each=6, size=160)
    spec = """
[roots]
photos = "photos"
[streams.train]
source = { kind = "directory", root = "photos" }
transform = { resize = { height = 96, width = 96 } }
"""
    (tmp_path / "spec.toml").write_text(spec, encoding="utf-8")
    return tmp_path


def test_the_readmes_example_trains(root: Path, photos_spec: Path) -> None:
    """The README's ten lines train on a folder as they are written."""
    [example] = blocks(root / "README.md", "python")
    assert len(example.strip().splitlines()) <= 10
    (photos_spec / "example.py").write_text(example, encoding="utf-8")
    assert "Epoch 10/10" in run(["example.py"], photos_spec)


def test_what_the_readme_says_first_fits_a_screen(root: Path) -> None:
    """What it is, for whom, two commands, ten lines of Python and one table stand before the first picture."""
    before = (root / "README.md").read_text(encoding="utf-8").partition("![")[0]
    assert len(before.splitlines()) <= 55


def test_the_guide_to_resuming_resumes(root: Path, photos_spec: Path) -> None:
    """Its Keras lines, run twice for more epochs each time, continue where they stopped."""
    [example] = [block for block in blocks(root / "docs" / "resume.md", "python") if "Checkpoint(" in block]
    indented = example.replace("\n", "\n    ")
    program = f"""
{BUILD_MODEL}
import penstock
with penstock.local("spec.toml", workers=1) as stack:
    train = stack.feed("train")
    build_model = lambda build=build_model: build(len(train.classes))
    {indented}
"""
    for count in (2, 3):
        (photos_spec / f"{count}.py").write_text(program.replace("epochs=10", f"epochs={count}"), encoding="utf-8")
    first, again = run_in_turn(["2.py"], ["3.py"], folder=photos_spec)
    assert "Epoch 1/2" in first
    assert "Epoch 3/3" in again
    assert "Epoch 2/3" not in again


@pytest.mark.parametrize("name", ["directory", "patches"])
def test_an_examples_spec_is_what_check_takes(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """With a folder of images mapped to its root."""
    make_images(tmp_path, each=20, size=240)
    assert 0 == check([str(root / "examples" / f"{name}.toml"), "--root", f"photos={tmp_path}"])
    assert "stream train" in capsys.readouterr().out


def test_the_manifest_example_is_what_check_takes(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a CSV file as it describes; the shard has a fourth of the items."""
    make_images(tmp_path / "images", each=20, size=32)
    lines = ["file,species", *(f"{name}/{number:04}.jpg,{name}" for name in ("cat", "dog") for number in range(20))]
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    assert 0 == check([str(root / "examples/manifest.toml"), "--root", f"photos={tmp_path}"])
    assert re.search(r"items +10\s", capsys.readouterr().out)


def test_the_keras_example_trains_and_goes_on(root: Path, tmp_path: Path) -> None:
    """Run for two epochs and then for three, it trains the third only."""
    make_images(tmp_path / "photos", each=20, size=160)
    program = [str(root / "examples/train_keras.py"), str(root / "examples/directory.toml")]
    program += ["--root", f"photos={tmp_path / 'photos'}", "--workers", "1", "--run", str(tmp_path / "r")]
    first, second = run_in_turn([*program, "--epochs", "2"], [*program, "--epochs", "3"], folder=tmp_path)
    assert "Epoch 1/2" in first
    assert "waiting for batches took" in first
    assert "Epoch 3/3" in second
    assert "Epoch 2/3" not in second


def test_the_examples_are_all_listed(root: Path) -> None:
    """Each file and folder has a line in `examples/README.md`."""
    listed = re.findall(r"^\| \[([\w.]+)/?\]", (root / "examples/README.md").read_text(encoding="utf-8"), re.MULTILINE)
    there = {path.name for path in (root / "examples").iterdir() if path.suffix in ("", ".ipynb", ".py", ".toml")}
    assert there - {"README.md", "__pycache__"} == set(listed)


def test_importing_penstock_is_light() -> None:
    """Nothing heavy comes along: no TensorFlow, no numpy, no sockets until they are asked for."""
    program = "import sys, penstock; print({'tensorflow', 'keras', 'numpy', 'zmq', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "set()" == done.stdout.strip()
