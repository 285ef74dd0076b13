"""What `penstock convert` writes is read by the real tools, and gives Penstock's own samples of the folder."""

import io
from pathlib import Path

import datasets  # pyright: ignore[reportMissingImports]
import numpy as np
import pytest
import webdataset  # pyright: ignore[reportMissingImports]
from PIL import Image
from pyarrow import parquet
from support.images import write_images
from support.streams import digest, epochs, make_spec, make_stream, run_stack

from penstock.commands.convert import main

pytestmark = pytest.mark.formats


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 24 images in two class folders, and shards of both formats next to it."""
    place = tmp_path_factory.mktemp("convert")
    write_images(place / "photos", ("cat", "dog"), 12)
    (place / "spec.toml").write_text(
        f'[roots]\nphotos = "{place / "photos"}"\n[streams.train]\ntransform = {{ resize = [8, 8] }}\n'
        'source = { kind = "directory", root = "photos" }\n',
        encoding="utf-8",
    )
    for to in ("tar", "parquet"):
        assert 0 == main([str(place / "spec.toml"), "-o", str(place / to), "--to", to, "--shard-mb", "0.01"])
    return place


def images(root: Path) -> list[tuple[bytes, int]]:
    """Return the files of the folder, and their classes."""
    return [
        (file.read_bytes(), ("cat", "dog").index(file.parent.name)) for file in sorted(root.rglob("photos/*/*.jpg"))
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves shards open
def test_webdataset_reads_the_tar_shards(root: Path) -> None:
    """By its own decoder of classes, in the order of the shards."""
    shards = sorted(map(str, (root / "tar").glob("*.tar")))
    assert 1 < len(shards)
    found = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).to_tuple("jpg", "cls")
    assert images(root) == [(content, int(label)) for content, label in found]
    pixels, *_ = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("jpg", "json"))
    assert (np.asarray(Image.open(io.BytesIO(images(root)[0][0]))) == pixels[0]).all()
    assert "cat" == pixels[1]["label"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the test before, at any time
def test_datasets_and_pyarrow_read_the_parquet_files(root: Path, tmp_path: Path) -> None:
    """As images and class labels, with their names."""
    files = sorted(map(str, (root / "parquet").glob("*.parquet")))
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert ["cat", "dog"] == found.features["label"].names
    assert isinstance(found.features["image"], datasets.Image)
    raw = found.cast_column("image", datasets.Image(decode=False))
    assert images(root) == [(row["image"]["bytes"], row["label"]) for row in raw]
    assert 24 == sum(parquet.read_table(file).num_rows for file in files)


@pytest.mark.parametrize("to", ["tar", "parquet"])
def test_penstock_makes_the_samples_of_the_folder(to: str, root: Path) -> None:
    """In the same order, and so at the same positions."""
    labels = {"label": "json", "label_field": "label"} if to == "tar" else {}
    sources = {
        "photos": {"kind": "directory", "root": "photos", "path": "photos", "classes": ["cat", "dog"]},
        to: {"kind": to, "root": "photos", "path": f"{to}/train-*.{to}", "classes": ["cat", "dog"], **labels},
    }
    streams = {name: make_stream(source=source) for name, source in sources.items()}
    with run_stack(make_spec(root) | {"streams": streams}, workers=1) as stack:
        found = [digest(epochs(stack.feed(name), 1)) for name in streams]
    assert found[0] == found[1]
