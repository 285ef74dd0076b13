"""Small Parquet and Arrow files in which text is repeated: what listing them takes, and what is refused."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.services.peaks import begin_peak, peak_bytes
from support.sources.shards import labels, listed
from support.sources.tables import write_arrow, write_parquet

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.messages import TaskKey
from penstock.protocol.records import Item, Task
from penstock.sources.containers.parquet_files import LocalFiles
from penstock.sources.containers.parquet_reader import ParquetReader
from penstock.sources.tables import parquet_pages

pa = pytest.importorskip("pyarrow")

#: Rows of a file, and characters of the text that they share: 1.3 GB if each had its own.
ROWS, LONG = 65_536, 20_000
#: Lists sources, each in a process of its own; prints the growth of its memory (bytes), and how many items there are
#: or why there are none.
MEASURE = """
import json, os, sys
import pyarrow, pyarrow.compute, pyarrow.ipc, pyarrow.parquet
from penstock.protocol.errors import SourceError
from penstock.protocol.spec.source import model_of
from penstock.sources.base import list_source
from support.services.peaks import begin_peak, peak_bytes
for given in json.loads(sys.argv[2]):
    if not os.fork():
        source, before = model_of(given).model_validate(given), begin_peak()
        try:
            found = str(len(list_source(source, {"photos": sys.argv[1]})))
        except SourceError as error:
            found = str(error)
        print(peak_bytes() - before, found, flush=True)
        os._exit(0)
    os.wait()
"""


def repeated(text: str, rows: int = ROWS) -> Any:
    """Return a column that has the text in every row, and once in memory."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [text])


def images(rows: int = ROWS) -> Any:
    """Return a column of what might be images: no two are alike."""
    noise = np.random.default_rng(1).bytes(16 * rows)
    return pa.array([noise[16 * row : 16 * row + 16] for row in range(rows)])


def measured(folder: Path, *sources: dict[str, object]) -> list[tuple[float, str]]:
    """Return by how many MB a process grew that listed each source, and what came of it."""
    given = json.dumps([{"root": "photos", **source} for source in sources])
    command = [sys.executable, "-c", MEASURE, str(folder), given]
    environment = {"PYTHONPATH": str(Path(__file__).parents[4]), "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert len(sources) == len(lines)
    return [(int(grew) / 1e6, found) for grew, found in lines]


def test_listing_takes_memory_for_the_file_and_not_for_what_it_repeats(tmp_path: Path) -> None:
    """65,536 rows that share one text of 1,000 or 20,000 characters; before, the largest of these took 6 GB."""
    columns = {"image": images(), "label": repeated("a" * 1000), "note": repeated("b" * LONG)}
    table = pa.table(columns)
    write_parquet(tmp_path / "dictionary.parquet", table, ROWS, use_dictionary=["label", "note"])
    write_arrow(tmp_path / "dictionary.arrow", table, ROWS)
    delta = {"use_dictionary": False, "column_encoding": {"label": "DELTA_BYTE_ARRAY", "image": "PLAIN"}}
    plain = table.select(["image", "label"]).cast(pa.schema([("image", pa.binary()), ("label", pa.string())]))
    write_parquet(tmp_path / "delta.parquet", plain, ROWS, compression="zstd", **delta)
    manifest = pa.table({"path": repeated("p" * 100), "label": repeated("c"), "note": columns["note"]})
    write_parquet(tmp_path / "manifest.parquet", manifest, ROWS)
    equal = {"where": [{"column": "note", "value": "b"}]}
    cases: list[tuple[dict[str, object], str]] = [
        ({"kind": "parquet", "path": "dictionary.parquet"}, "65536"),
        ({"kind": "parquet", "path": "dictionary.parquet", **equal}, "no row of them matches source.where"),
        ({"kind": "parquet", "path": "delta.parquet"}, "65536"),
        ({"kind": "arrow", "path": "dictionary.arrow"}, "65536"),
        ({"kind": "arrow", "path": "dictionary.arrow", **equal}, "no row of them matches source.where"),
        ({"kind": "manifest", "path": "manifest.parquet"}, "65536"),
        ({"kind": "manifest", "path": "manifest.parquet", **equal}, "no row matches source.where"),
    ]
    for (source, words), (grew, found) in zip(cases, measured(tmp_path, *(source for source, _ in cases)), strict=True):
        assert words in found, source
        assert grew < 200, source


def test_what_unpacks_to_much_is_refused_before_it_does(tmp_path: Path) -> None:
    """A page of a gigabyte, compressed batches of Arrow, and a manifest of one long path: each by its name."""
    text = pa.array(["a" * LONG] * 8192)
    table = pa.table({"image": images(8192), "label": text})
    write_parquet(
        tmp_path / "page.parquet", table, ROWS, compression="zstd", use_dictionary=False, data_page_size=2**31 - 1
    )
    write_arrow(tmp_path / "packed.arrow", table, ROWS, options=pa.ipc.IpcWriteOptions(compression="zstd"))
    write_parquet(tmp_path / "path.parquet", pa.table({"path": repeated("p" * 4000)}), ROWS)
    page, packed, path = measured(
        tmp_path,
        {"kind": "parquet", "path": "page.parquet"},
        {"kind": "arrow", "path": "packed.arrow"},
        {"kind": "manifest", "path": "path.parquet", "label_column": ""},
    )
    assert "page.parquet: a page of column 'label' unpacks to 164 MB; at most 128: write it with smaller" in page[1]
    assert "packed.arrow: its record batches are compressed" in packed[1]
    assert re.search(r"path\.parquet, row \d+: the listing so far takes \d+ MB, more than a file of this size", path[1])
    assert max(page[0], packed[0]) < 20
    assert path[0] < 250, "what it allows to any file, twice: the buffer of paths grows by copying"


def test_a_small_page_of_images_that_unpacks_to_much_is_refused_unread(tmp_path: Path) -> None:
    """A worker quarantines its items; a large page of images that are compressed already is read."""
    zeros = pa.array([bytes(1_000_000)] * 140)
    write_parquet(
        tmp_path / "s.parquet",
        pa.table({"image": zeros}),
        140,
        compression="zstd",
        use_dictionary=False,
        data_page_size=2**31 - 1,
    )
    assert (tmp_path / "s.parquet").stat().st_size < 100_000
    reader = ParquetReader(LocalFiles(str(tmp_path), "image", allow_outside=False), limit_bytes=10**7)
    item = Item(item=0, path="s.parquet", label=0, span=(7, 1))
    task = Task(key=TaskKey(stream="s", ordinal=0), attempt=0, epoch=0, items=(item,))
    before = begin_peak()
    [content] = reader.read(task).contents
    assert isinstance(content, ItemError)
    assert "cannot read the row's group: a page of images unpacks from 0.0 to 140 MB" in str(content)
    assert peak_bytes() - before < 50e6


def test_metadata_of_the_hub_that_is_nested_too_deeply_gives_no_names(tmp_path: Path) -> None:
    """As any other metadata that is not the hub's."""
    table = pa.table({"image": images(50), "label": ["cat"] * 50})
    write_parquet(tmp_path / "s.parquet", table.replace_schema_metadata({b"huggingface": b"[" * 100_000}))
    assert ("cat",) == listed(tmp_path, "parquet", "s.parquet").classes


def test_more_rows_than_bytes_are_refused(tmp_path: Path) -> None:
    """One image in a million rows, of which no column but the number of rows would be read."""
    shared = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), pa.array([b"x" * 99]))
    write_parquet(tmp_path / "s.parquet", pa.table({"image": shared.dictionary_decode()}), 1_000_000)
    with pytest.raises(SourceError, match=r"s\.parquet: 1000000 rows in a file of \d+ bytes: a row with an image"):
        listed(tmp_path, "parquet", "s.parquet", label="")


def test_a_text_that_is_no_class_name_is_refused_by_its_length(tmp_path: Path) -> None:
    """It is shown in part."""
    write_parquet(tmp_path / "s.parquet", pa.table({"image": images(60), "label": ["x" * 1025] * 60}))
    with pytest.raises(SourceError, match=r"row 0: label = 'x{199}…: a label of 1025 characters; a class name has"):
        listed(tmp_path, "parquet", "s.parquet")


@pytest.mark.parametrize("kind", ["string_view", "run_end_encoded"])
def test_types_whose_rows_share_bytes_are_refused(kind: str, tmp_path: Path) -> None:
    """By the column and its type."""
    column = pa.array(["a", "a"], pa.string_view()) if kind == "string_view" else pa.array(["a", "a"])
    if kind == "run_end_encoded":
        column = pa.compute.run_end_encode(column)
    write_arrow(tmp_path / "s.arrow", pa.table({"image": images(2), "label": column}))
    with pytest.raises(SourceError, match=rf"s\.arrow: column 'label' is {kind}"):
        listed(tmp_path, "arrow", "s.arrow")


def test_damaged_offsets_of_arrow_are_found_before_anything_is_read_at_them(tmp_path: Path) -> None:
    """Of labels and of images: pyarrow itself would read wherever they point."""
    file = tmp_path / "s.arrow"
    write_arrow(file, pa.table({"image": images(3), "label": ["dog", "mouse", "bird"]}), 3)
    content = file.read_bytes()
    for offsets in ((0, 16, 32, 48), (0, 3, 8, 12)):
        raw = np.array(offsets, np.int32).tobytes()
        assert 1 == content.count(raw)
        file.write_bytes(content.replace(raw, raw[:4] + np.int32(2**30).tobytes() + raw[8:]))
        with pytest.raises(SourceError, match=r"s\.arrow: not a whole Arrow file"):
            listed(tmp_path, "arrow", "s.arrow")


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", None])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_encoding_and_version_of_pages_is_listed(encoding: str | None, version: str, tmp_path: Path) -> None:
    """With the labels as they were written, over several row groups."""
    names = [f"class {row % 7}" for row in range(1000)]
    options: dict[str, Any] = {"data_page_version": version, "compression": "snappy", "data_page_size": 500}
    if encoding:
        options |= {"use_dictionary": False, "column_encoding": {"label": encoding, "image": "PLAIN"}}
    write_parquet(tmp_path / "s.parquet", pa.table({"image": images(1000), "label": names}), 300, **options)
    assert names == labels(listed(tmp_path, "parquet", "s.parquet"))


def test_damaged_bytes_anywhere_are_an_error_in_words_or_change_nothing(tmp_path: Path) -> None:
    """Page headers among them: whatever stands there, listing ends, with a SourceError if it fails."""
    file = tmp_path / "s.parquet"
    write_parquet(file, pa.table({"image": images(50), "label": ["dog", "cat"] * 25}), 20)
    content, rng = file.read_bytes(), np.random.default_rng(3)
    outcomes = {"listed": 0, "refused": 0}
    for place in rng.integers(4, len(content), 150):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        file.write_bytes(changed)
        try:
            listed(tmp_path, "parquet", "s.parquet")
            outcomes["listed"] += 1
        except SourceError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10


def test_a_header_that_has_no_end_is_refused() -> None:
    """Structs in structs, lists of many elements, and numbers of more than 64 bits."""
    for data in (b"\x1c" * 100, b"\x19\xf5\xff\xff\xff\x0f", b"\x15" + b"\xff" * 20, b""):
        with pytest.raises((IndexError, OverflowError)):
            parquet_pages.Compact(data).struct()
