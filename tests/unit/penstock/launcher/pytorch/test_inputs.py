"""What the drop-in DataLoader is over, and what it refuses before it starts anything; without PyTorch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.datasets.squares import Squares

import penstock
from penstock.launcher.pytorch.inputs import Input, as_input
from penstock.launcher.spare import can_fork
from penstock.protocol.errors import MissingFolderError, SpecError
from penstock.protocol.spec.spec import as_spec

SPEC = {
    "seed": 3,
    "roots": {"images": "/photos"},
    "streams": {
        name: {
            "source": {"kind": "directory", "root": "images"},
            "transform": {"recipe": "imagenet-train"},
            "batch_size": 64,
        }
        for name in ("train", "validation")
    },
}


def make_input(dataset: object, **options: Any) -> Input:
    """Return what a DataLoader is over, with some of its arguments."""
    defaults: dict[str, Any] = {"transform": None, "stream": "train", "seed": 0, "given": {}, "fields": None}
    return as_input(dataset, **defaults | options)


def test_a_dataset_object_is_refused_with_its_class() -> None:
    """An object would have to be pickled: its class is named instead."""
    with pytest.raises(SpecError, match=r"sent no objects.*give penstock\.torch\.ImportedDataset\(Squares, "):
        penstock.torch.DataLoader(Squares(5), 4, collate_fn=None, sampler=None)


def test_a_class_of_the_script_is_to_be_moved() -> None:
    """Workers cannot import `__main__`, given as an object or as a class."""
    of_script = type("Photos", (Squares,), {"__module__": "__main__"})
    with pytest.raises(SpecError, match="move class Photos from the script into a module of its own"):
        penstock.torch.DataLoader(of_script(5), 4)
    with pytest.raises(SpecError, match=r"the script itself.*move it to the top level of a module"):
        penstock.torch.ImportedDataset(of_script, length=5)


def test_a_folder_needs_a_transform(tmp_path: Path) -> None:
    """A recipe's name or a spec's table do without torchvision; batches are pairs of one sample by default."""
    (tmp_path / "cat").mkdir()
    with pytest.raises(SpecError, match='transform="imagenet-train"'):
        make_input(tmp_path)
    over = make_input(str(tmp_path), transform="imagenet-train", given={"batch_size": 8})
    spec = as_spec(over.spec)
    assert (8, False) == (spec.streams["train"].batch_size, spec.streams["train"].shuffle)
    assert (("image", "label"), False) == (over.fields, over.as_dict)
    resized = make_input(tmp_path, transform={"resize": [32, 48]})
    assert (32, 48, 3) == as_spec(resized.spec).streams["train"].transform.image_shape
    assert 1 == as_spec(resized.spec).streams["train"].batch_size


def test_a_folder_of_train_and_validation_is_refused(tmp_path: Path) -> None:
    """They would be its two classes."""
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
    with pytest.raises(SpecError, match="'train' and 'val', which would be its classes"):
        make_input(tmp_path, transform="imagenet-train")


@pytest.mark.parametrize("as_model", [False, True])
def test_a_spec_keeps_its_settings_unless_arguments_are_given(*, as_model: bool) -> None:
    """Only the stream that is asked for is served, and batches are dicts of its fields."""
    spec: Any = as_spec(SPEC) if as_model else SPEC
    over = make_input(spec, stream="validation", given={"shuffle": False})
    served = as_spec(over.spec)
    assert ["validation"] == list(served.streams)
    assert (64, False) == (served.streams["validation"].batch_size, served.streams["validation"].shuffle)
    assert (3, None, True) == (served.seed, over.fields, over.as_dict)
    with pytest.raises(SpecError, match=r"stream = 'test': the spec has 'train', 'validation'"):
        make_input(spec, stream="test")


def test_a_spec_file_is_read(tmp_path: Path) -> None:
    """As TOML; a path that leads nowhere, or a transform for a spec, is refused."""
    file = tmp_path / "spec.toml"
    file.write_text(
        'seed = 1\n[roots]\nimages = "photos"\n[streams.train]\nsource = {kind = "directory", root = "images"}\n'
        'transform = {recipe = "imagenet-train"}\n',
        encoding="utf-8",
    )
    assert ["train"] == list(as_spec(make_input(file).spec).streams)
    with pytest.raises(SpecError, match="it goes with a folder"):
        make_input(file, transform="imagenet-train")
    with pytest.raises(MissingFolderError, match=r"missing.toml': no such folder or file"):
        make_input(str(tmp_path / "missing.toml"))


@pytest.mark.skipif(not can_fork(), reason="services are forked on Linux only")
def test_the_process_that_starts_workers_begins_with_the_import() -> None:
    """It imports while the program does; a process that only works for the program begins none."""
    program = (
        "import multiprocessing, penstock\n"
        "from penstock.launcher import spare\n"
        "def begun(): penstock.torch.DataLoader; return len(spare._spare)\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool: print(pool.apply(begun), end=' ')\n"
        "print(begun(), end=' ')\n"
        "begun(); print(len(spare._spare), spare._spare[0].process.poll())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert "0 1 1 None" == done.stdout.strip()
