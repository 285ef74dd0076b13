"""Arrow files of Hugging Face data sets: which rows are items, and that workers find the images' bytes in the file."""

from pathlib import Path
from typing import Any

import pytest
from support.sources.shards import IMAGES, LABELS, catalog, labels, listed, read
from support.sources.tables import hub_table, write_arrow
from support.web import serve

from penstock.protocol.errors import SourceError

pa = pytest.importorskip("pyarrow")

NAMES = ["zebra", "cat", "10", "dog"]
PATH = "train/data-{00000..00001}-of-00002.arrow"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a root with two files of three rows in batches of two."""
    (tmp_path / "train").mkdir()
    for shard in range(2):
        part = slice(3 * shard, 3 * shard + 3)
        table = hub_table(list(IMAGES[part]), [NAMES.index(label) for label in LABELS[part]], NAMES)
        write_arrow(tmp_path / f"train/data-0000{shard}-of-00002.arrow", table)
    return tmp_path


def test_workers_read_the_images_where_they_lie_here_and_below_a_url(folder: Path) -> None:
    """In the order of files and rows, with the names of the ClassLabel."""
    listing = listed(folder, "arrow", PATH)
    assert LABELS == labels(listing)
    assert tuple(NAMES) == listing.classes
    assert IMAGES == read(catalog(folder, kind="arrow", path=PATH), folder)
    with serve(folder) as web:
        assert IMAGES == read(catalog(web.url, kind="arrow", path=PATH), web.url)


@pytest.mark.parametrize("kind", ["binary", "large_binary"])
@pytest.mark.parametrize("new", ["new_stream", "new_file"])
def test_plain_columns_are_read_from_streams_and_files(kind: str, new: str, tmp_path: Path) -> None:
    """Also where a batch is a slice of a larger one."""
    table = pa.table({"picture": pa.array([b"before", *IMAGES], getattr(pa, kind)()), "name": ["x", *LABELS]})
    with getattr(pa.ipc, new)(tmp_path / "s.arrow", table.schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch.slice(1, 4))
            writer.write_batch(batch.slice(5))
            writer.write_batch(batch.slice(0, 0))
    assert IMAGES == read(catalog(tmp_path, kind="arrow", path="s.arrow", image="picture", label="name"), tmp_path)
    assert LABELS == labels(listed(tmp_path, "arrow", "s.arrow", image="picture", label="name"))
    assert () == listed(tmp_path, "arrow", "s.arrow", image="picture", label="").classes


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table({"image": [b"x"]}), r"no column 'label' \(source\.label\); its columns: 'image'"),
        (pa.table({"image": [[1]], "label": [1]}), r"column 'image' \(source\.image\) is list"),
        (hub_table([b"x", b"y", b"z", None], [0] * 4, NAMES), r"row 3: holds no image"),
        (pa.table({"image": [b"x", b"y", b""], "label": [0] * 3}), r"row 2: holds no image"),
        (hub_table([b"x", b"y", b"z"], [0, 1, -1], NAMES), r"row 2: label = -1: its ClassLabel has 4 names"),
    ],
)
def test_a_table_that_is_no_source_is_refused(table: Any, words: str, tmp_path: Path) -> None:
    """By the file, and the column or the row, whichever batch it lies in."""
    write_arrow(tmp_path / "s.arrow", table)
    with pytest.raises(SourceError, match=r"s\.arrow.*" + words):
        listed(tmp_path, "arrow", "s.arrow")


def test_a_null_struct_is_a_row_without_image(tmp_path: Path) -> None:
    """Whatever lies in its field."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array([{"bytes": b"x", "path": ""}, None], kind), "label": [0, 0]})
    write_arrow(tmp_path / "s.arrow", table)
    with pytest.raises(SourceError, match="row 1: holds no image"):
        listed(tmp_path, "arrow", "s.arrow")


def test_compressed_batches_are_refused_in_words(tmp_path: Path) -> None:
    """Their images lie nowhere in the file."""
    table = hub_table([bytes(5000)] * 2, [0, 0], NAMES)
    write_arrow(tmp_path / "s.arrow", table, options=pa.ipc.IpcWriteOptions(compression="zstd"))
    with pytest.raises(SourceError, match=r"s\.arrow: its record batches are compressed"):
        listed(tmp_path, "arrow", "s.arrow")


def test_a_cut_file_is_refused(folder: Path) -> None:
    """In a batch, or between two batches, where pyarrow itself says nothing."""
    file = folder / "train/data-00000-of-00002.arrow"
    content = file.read_bytes()
    for length in (0, 5, 100, *range(len(content) // 2, len(content), 8)):
        file.write_bytes(content[:length])
        with pytest.raises(
            SourceError, match=r"data-00000-of-00002\.arrow: (cut short|not a whole Arrow file|the file)"
        ):
            listed(folder, "arrow", PATH)
