"""Parquet with image bytes: which rows are items, with which labels, and that workers read them by row group."""

import resource
from pathlib import Path

import pytest
from support.sources.shards import IMAGES, LABELS, catalog, labels, listed, read
from support.sources.tables import hub_table, write_parquet

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.messages import TaskKey
from penstock.protocol.records import Item, Task
from penstock.sources.containers.parquet_files import LocalFiles
from penstock.sources.containers.parquet_reader import ParquetReader

pa = pytest.importorskip("pyarrow")

NAMES = ["zebra", "cat", "10", "dog"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a root with two files of three rows, as the hub has them."""
    for shard in range(2):
        part = slice(3 * shard, 3 * shard + 3)
        numbers = [NAMES.index(label) for label in LABELS[part]]
        write_parquet(tmp_path / f"train-0{shard}.parquet", hub_table(list(IMAGES[part]), numbers, NAMES))
    return tmp_path


def task_of(*spans: tuple[int, int], path: str = "s.parquet") -> Task:
    """Return a task with items of these rows."""
    items = [Item(item=number, path=path, label=0, span=span) for number, span in enumerate(spans)]
    return Task(key=TaskKey(stream="s", ordinal=0), attempt=0, epoch=0, items=tuple(items))


def reader(root: Path, limit_bytes: int = 10**6, cache_bytes: int = 10**6) -> ParquetReader:
    """Return a reader of the column `image`."""
    return ParquetReader(
        LocalFiles(str(root), "image", allow_outside=False), limit_bytes=limit_bytes, cache_bytes=cache_bytes
    )


def test_rows_are_items_in_the_order_of_files_and_rows(folder: Path) -> None:
    """Labels are the ClassLabel's names, in its order; workers read the bytes."""
    listing = listed(folder, "parquet", "train-*.parquet")
    assert LABELS == labels(listing)
    assert tuple(NAMES) == listing.classes
    assert "train-01.parquet@2+1" == listing.path(5)
    assert IMAGES == read(catalog(folder, kind="parquet", path="train-*.parquet"), folder)


@pytest.mark.parametrize("kind", ["binary", "large_binary"])
def test_plain_columns_and_labels_of_any_type_are_read(kind: str, tmp_path: Path) -> None:
    """Binary columns of any name; labels by the rule of all sources; none with label = ''."""
    images = pa.array(IMAGES, getattr(pa, kind)())
    short = pa.array([0.1, 1, 2, 1, 2, 0.1], pa.float32())
    write_parquet(tmp_path / "s.parquet", pa.table({"a.b": images, "name": LABELS, "short": short}))
    source = {"kind": "parquet", "path": "s.parquet", "image": "a.b"}
    assert IMAGES == read(catalog(tmp_path, **source, label="name"), tmp_path)
    for label, classes in (("name", ("10", "cat", "dog")), ("short", ("0.1", "1", "2")), ("", ())):
        assert classes == listed(tmp_path, "parquet", "s.parquet", image="a.b", label=label).classes
    assert LABELS == labels(listed(tmp_path, "parquet", "s.parquet", image="a.b", label="name"))


def test_given_classes_renumber_a_class_label(folder: Path) -> None:
    """By name; a name that is missing is refused with its row."""
    listing = listed(folder, "parquet", "train-*.parquet", classes=["10", "cat", "dog"])
    assert ("10", "cat", "dog") == listing.classes
    assert LABELS == labels(listing)
    with pytest.raises(SourceError, match=r"train-01\.parquet: item '1': label = '10': not among source\.classes"):
        listed(folder, "parquet", "train-*.parquet", classes=["cat", "dog"])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"picture": [b"x"], "label": [1]}, r"no column 'image' \(source\.image\); its columns: 'picture'"),
        ({"image": [b"x"]}, r"no column 'label' \(source\.label\)"),
        ({"image": ["text"], "label": [1]}, r"column 'image' \(source\.image\) is string: images are the bytes"),
        ({"image": [b"x", b"y"], "label": [1, None]}, r"row 1: label = None: a label must be text"),
        ({"image": [b"x", b"y", None], "label": [1, 2, 3]}, r"1 of rows 2 to 2 hold no image \(image is null\)"),
    ],
)
def test_a_table_that_is_no_source_is_refused(table: dict[str, list[object]], words: str, tmp_path: Path) -> None:
    """By the file, and the column or the row."""
    write_parquet(tmp_path / "s.parquet", pa.table(table))
    with pytest.raises(SourceError, match=r"s\.parquet.*" + words):
        listed(tmp_path, "parquet", "s.parquet")


@pytest.mark.parametrize("label", [-1, 4, None])
def test_a_number_that_its_class_label_does_not_name_is_refused(label: int | None, tmp_path: Path) -> None:
    """-1 is what the hub's test sets have for no label."""
    write_parquet(tmp_path / "s.parquet", hub_table([b"x", b"y"], [0, label], NAMES))
    with pytest.raises(SourceError, match=rf"row 1: label = {label}: its ClassLabel has 4 names.*label = ''"):
        listed(tmp_path, "parquet", "s.parquet")


def test_files_that_name_other_classes_are_refused(folder: Path) -> None:
    """Their numbers would mean other things."""
    write_parquet(folder / "train-02.parquet", hub_table([b"x"], [0], ["cat"]))
    with pytest.raises(SourceError, match=r"train-02\.parquet: names the classes 'cat', and .*train-00\.parquet names"):
        listed(folder, "parquet", "train-*.parquet")


def test_a_cut_file_is_refused(folder: Path) -> None:
    """Anywhere, and with its name."""
    file = folder / "train-00.parquet"
    content = file.read_bytes()
    for length in (0, 3, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(SourceError, match=r"train-00\.parquet: not a whole Parquet file"):
            listed(folder, "parquet", "train-00.parquet")


def test_a_row_without_an_image_that_no_statistics_show_is_quarantined(tmp_path: Path) -> None:
    """The others of its group are read."""
    table = hub_table([b"a", None, b"", b"dddd"], [0, 0, 0, 0])
    write_parquet(tmp_path / "s.parquet", table, rows=4, write_statistics=False)
    assert 4 == len(listed(tmp_path, "parquet", "s.parquet"))
    first, null, empty, long = reader(tmp_path, limit_bytes=3).read(task_of(*((row, 1) for row in range(4)))).contents
    assert b"a" == first
    assert "the row holds no image: it is null" == str(null)
    assert "the item is empty" == str(empty)
    assert "4 bytes is over the limit of 3 bytes (transform.max_file_mb)" == str(long)


def test_row_groups_are_kept_up_to_a_limit_and_read_once_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of the rows in the task; a group over the limit is kept alone."""
    write_parquet(tmp_path / "s.parquet", hub_table([bytes([65 + row]) * 1000 for row in range(8)], [0] * 8))
    groups: list[int] = []
    original = pa.parquet.ParquetFile.iter_batches

    def counted(self: object, rows: int, row_groups: list[int], **options: object) -> object:
        groups.extend(row_groups)
        return original(self, rows, row_groups=row_groups, **options)

    monkeypatch.setattr(pa.parquet.ParquetFile, "iter_batches", counted)
    rows = [7, 0, 5, 2, 6, 1, 3, 4]
    bounded = reader(tmp_path, cache_bytes=5000)
    contents = bounded.read(task_of(*((row, 1) for row in rows))).contents
    assert [bytes([65 + row]) * 1000 for row in rows] == list(contents)
    assert [0, 1, 2, 3] == groups
    assert 4000 <= bounded.cached_bytes <= 5000
    tiny = reader(tmp_path, cache_bytes=1)
    assert b"A" * 1000 == tiny.read(task_of((0, 1), (2, 1))).contents[0]
    assert 2000 <= tiny.cached_bytes <= 2500


def test_a_file_that_changed_or_has_fewer_rows_quarantines_its_items(tmp_path: Path) -> None:
    """With the reason, and without this host's folder where the file is only shorter."""
    write_parquet(tmp_path / "s.parquet", hub_table([b"a"], [0]))
    opened = reader(tmp_path)
    [short] = opened.read(task_of((1, 1))).contents
    assert "the file has 1 rows, and the item is row 1" == str(short)
    with (tmp_path / "s.parquet").open("ab") as file:
        file.write(b"more")
    [changed] = opened.read(task_of((0, 1))).contents
    assert isinstance(changed, ItemError)
    assert "was changed while it was in use" in str(changed)
    [gone] = opened.read(task_of((0, 1), path="gone.parquet")).contents
    assert isinstance(gone, ItemError)
    assert "gone.parquet: cannot open the file" in str(gone)


def test_a_damaged_page_quarantines_the_items_of_its_group(tmp_path: Path) -> None:
    """And no others."""
    write_parquet(tmp_path / "s.parquet", hub_table([b"a" * 500, b"b" * 500], [0, 0]), rows=1, compression="gzip")
    content = bytearray((tmp_path / "s.parquet").read_bytes())
    content[4:60] = bytes(56)
    (tmp_path / "s.parquet").write_bytes(content)
    damaged, whole = reader(tmp_path).read(task_of((0, 1), (1, 1))).contents
    assert isinstance(damaged, ItemError)
    assert "cannot read the row's group" in str(damaged)
    assert b"b" * 500 == whole


def test_another_copy_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Rows are read from the files that were listed."""
    other = tmp_path_factory.mktemp("other")
    write_parquet(other / "train-00.parquet", hub_table([b"x"], [0]))
    with pytest.raises(SourceError, match="other names or sizes"):
        read(catalog(folder, kind="parquet", path="train-*.parquet"), other)


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    """One value that all rows share takes a few hundred bytes of a file, and its length in memory for each row."""
    images = pa.array([bytes(100_000)] * 200)
    write_parquet(tmp_path / "s.parquet", pa.table({"image": images}), rows=200, compression="zstd")
    assert (tmp_path / "s.parquet").stat().st_size < 2000
    opened = ParquetReader(LocalFiles(str(tmp_path), "image", allow_outside=False), limit_bytes=10**6, most_bytes=10**7)
    [content] = opened.read(task_of((7, 1))).contents
    assert isinstance(content, ItemError)
    assert "row group 0 has more than 10 MB of images" in str(content)


def test_a_task_may_have_items_of_more_files_than_a_process_may_open(tmp_path: Path) -> None:
    """They are opened some at a time, as a large data set has hundreds of files."""
    numbers = [int(file.name) for file in Path("/proc/self/fd").iterdir()]
    limit = max(numbers) + 40
    images = [number.to_bytes(2, "big") * 50 for number in range(limit - len(numbers) + 10)]
    for number, image in enumerate(images):
        write_parquet(tmp_path / f"{number:03}.parquet", hub_table([image], [0], NAMES))
    items = [Item(item=number, path=f"{number:03}.parquet", label=0, span=(0, 1)) for number in range(len(images))]
    task = Task(key=TaskKey(stream="s", ordinal=0), attempt=0, epoch=0, items=tuple(items))
    opened, (soft, hard) = reader(tmp_path), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        assert images == list(opened.read(task).contents)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_names_that_are_no_text_fail_their_rows(tmp_path: Path) -> None:
    """The library raises an error of Python's for them: the worker goes on."""
    table = pa.table({"image": pa.array(IMAGES, pa.binary()), "namenamename": LABELS})
    pa.parquet.write_table(table, tmp_path / "s.parquet", store_schema=False)
    file = tmp_path / "s.parquet"
    file.write_bytes(file.read_bytes().replace(b"namenamename", b"\xff" * 12))
    [content] = reader(tmp_path).read(task_of((0, 1))).contents
    assert isinstance(content, ItemError)
    assert "codec can't decode" in str(content)
