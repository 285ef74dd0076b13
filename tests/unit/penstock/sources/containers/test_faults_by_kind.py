"""Every kind of shard with every fault: a clear error that names the shard and, where it has one, the key."""

import os
import struct
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from support.sources.listings import items
from support.sources.lmdbs import write_lmdb
from support.sources.mds import write_mds
from support.sources.shards import catalog, listed, read
from support.sources.tables import hub_table, write_arrow, write_parquet
from support.sources.tars import sample, write_tar
from support.sources.tfrecords import example, feature, record, write_tfrecord
from support.sources.tfrecords import sample as tf_sample

from penstock.protocol.errors import ItemError, SourceError

IMAGES = [b"a" * 700, b"b" * 900]
LABELS = ["cat", "dog"]
#: The shard's name and the fields of its source.
KINDS: dict[str, dict[str, Any]] = {
    "tar": {"path": "s.tar"},
    "parquet": {"path": "s.parquet"},
    "arrow": {"path": "s.arrow"},
    "tfrecord": {"path": "s.tfrecord"},
    "mds": {"path": "s.mds"},
    "lmdb": {"path": "s.mdb", "image": "image-{}", "label": "label-{}"},
}
#: What a fault does to a shard's images, and what it needs to be told of.
FAULTS = ("no image", "empty image", "no label", "twice")


def write(root: Path, kind: str, fault: str = "") -> Path:
    """Write a shard of two items, the second with a fault; return it."""
    file = root / str(KINDS[kind]["path"])
    images: list[bytes | None] = [IMAGES[0], {"no image": None, "empty image": b""}.get(fault, IMAGES[1])]
    if kind == "tar":
        members = [
            member
            for key, image, label in zip("01", IMAGES, LABELS, strict=True)
            for member in sample(key, image, label)
        ]
        changed = {"no image": members[:2] + members[3:], "no label": members[:3], "twice": [*members, *members[:2]]}
        members[2] = ("1.jpg", images[1] or b"")
        write_tar(file, changed.get(fault, members))
    elif kind in ("parquet", "arrow"):
        table = hub_table(images, [None if fault == "no label" and name == "dog" else name for name in LABELS])
        table = table.append_column("label", table.column("label")) if fault == "twice" else table
        (write_parquet if kind == "parquet" else write_arrow)(file, table)
    elif kind == "tfrecord":
        second = {
            "no image": record(example({"image/class/label": feature([b"dog"])})),
            "no label": record(example({"image/encoded": feature([IMAGES[1]])})),
            "twice": record(example({"image/encoded": feature([IMAGES[1], IMAGES[1]])})),
        }
        write_tfrecord(file, [tf_sample(IMAGES[0], [b"cat"]), second.get(fault, tf_sample(images[1] or b"", [b"dog"]))])
    elif kind == "mds":
        columns = {"image": "bytes", "label": "str"}
        lacks = {"no image": "image", "no label": "label"}.get(fault)
        names = [*(name for name in columns if name != lacks), *(["image"] if fault == "twice" else [])]
        values = [{"image": image or b"", "label": label.encode()} for image, label in zip(images, LABELS, strict=True)]
        if fault == "twice":
            write_same_names(file, values)
        else:
            write_mds(
                file, {name: columns[name] for name in names}, [[each[name] for name in names] for each in values]
            )
    else:
        write_lmdb(file)
        if fault:
            spoil_lmdb(file, fault)
    return file


def write_same_names(file: Path, values: list[dict[str, bytes]]) -> None:
    """Write an MDS shard with two columns called `image`."""
    samples = [[each["image"], each["image"], each["label"]] for each in values]
    write_mds(file, {"image": "bytes", "imagf": "bytes", "label": "str"}, samples)
    file.write_bytes(file.read_bytes().replace(b"imagf", b"image"))


def spoil_lmdb(file: Path, fault: str) -> None:
    """Change a key, a value's size or its flag in the data base."""
    content = bytearray(file.read_bytes())
    where = {"no image": b"image-000001", "no label": b"label-000001"}.get(fault, b"image-000001")
    place = content.index(where)
    if fault in ("no image", "no label"):
        content[place : place + 5] = b"other"
    elif fault == "empty image":
        content[place - 8 : place - 4] = bytes(4)  # the value's size
    else:
        content[place - 4 : place - 2] = struct.pack("<H", 4)  # the node's flag: sorted duplicates
    file.write_bytes(content)


WORDS = {
    ("tar", "no image"): "item '1' has no image; it has .cls",
    ("tar", "empty image"): "item '1': its image has no bytes",
    ("tar", "no label"): "item '1' has no member .cls",
    ("tar", "twice"): "item '0' comes twice",
    ("parquet", "no image"): "1 of rows 0 to 1 hold no image",
    ("parquet", "empty image"): "",
    ("parquet", "no label"): "row 1: label",
    ("parquet", "twice"): "has more than one column 'label'",
    ("arrow", "no image"): "row 1: holds no image",
    ("arrow", "empty image"): "row 1: holds no image",
    ("arrow", "no label"): "row 1: label",
    ("arrow", "twice"): "has more than one column 'label'",
    ("tfrecord", "no image"): "record 1 has no feature 'image/encoded'",
    ("tfrecord", "empty image"): "record 1.*must hold the bytes of one image file",
    ("tfrecord", "no label"): "record 1.*no feature 'image/class/label'",
    ("tfrecord", "twice"): "record 1.*must hold the bytes of one image file, not 2",
    ("mds", "no image"): "has no column 'image'",
    ("mds", "empty image"): "sample 1: image is empty",
    ("mds", "no label"): "has no column 'label'",
    ("mds", "twice"): "has more than one column 'image'",
    ("lmdb", "no image"): "key 'label-000001' is a label without an image",
    ("lmdb", "empty image"): "key 'image-000001'",
    ("lmdb", "no label"): "key 'image-000001' has no label",
    ("lmdb", "twice"): "key b'image-000001' holds several values",
}


def list_it(root: Path, kind: str) -> Any:
    """List the shard, with its labels."""
    fields = {"label": "image/class/label"} if kind == "tfrecord" else {"label": "cls"} if kind == "tar" else {}
    given = {"label": "label"} | fields | KINDS[kind]
    return listed(root, kind, given.pop("path"), **given)


@pytest.mark.parametrize(("kind", "fault"), list(product(KINDS, FAULTS)))
def test_an_item_with_a_fault_is_named(kind: str, fault: str, tmp_path: Path) -> None:
    """By the shard and its key or number; what only its bytes show is quarantined when it is read."""
    file = write(tmp_path, kind, fault)
    if words := WORDS[kind, fault]:
        with pytest.raises(SourceError, match=rf"{file.name}.*{words}"):
            list_it(tmp_path, kind)
        return
    first, second = read(catalog(tmp_path, kind=kind, **KINDS[kind]), tmp_path)
    assert IMAGES[0] == first
    assert isinstance(second, ItemError)
    assert "the item is empty" == str(second)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_shard_is_refused(kind: str, tmp_path: Path) -> None:
    """Cut to a half, and by the last bytes that are not padding."""
    file = write(tmp_path, kind)
    whole = file.read_bytes()
    for size in (len(whole) // 2, len(whole.rstrip(b"\0")) - 8):
        file.write_bytes(whole[:size])
        with pytest.raises(SourceError, match=file.name):
            list_it(tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_index_is_made_anew_and_another_copy_refused(kind: str, tmp_path: Path, cache: Path) -> None:
    """An index with another offset, and a worker whose shard has another size."""
    file = write(tmp_path, kind)
    os.utime(file, (10**9, 10**9))
    expected = items(list_it(tmp_path, kind))
    [index] = cache.iterdir()
    content = bytearray(index.read_bytes())
    content[content.index(b'"offsets":[') + 11] ^= 1
    index.write_bytes(content)
    assert expected == items(list_it(tmp_path, kind))
    found = catalog(tmp_path, kind=kind, **KINDS[kind], **({} if kind == "lmdb" else {"label": ""}))
    file.write_bytes(file.read_bytes() + bytes(512))
    with pytest.raises(SourceError, match="other names or sizes than those that the ventilator listed"):
        read(found, tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "tfrecord", "mds"])
def test_a_missing_column_is_named(kind: str, tmp_path: Path) -> None:
    """With the columns that there are."""
    file = write(tmp_path, kind)
    ask: Callable[..., Any] = listed
    with pytest.raises(SourceError, match=rf"{file.name}.*has no (column|feature) 'picture' .*source\.image"):
        ask(tmp_path, kind, file.name, image="picture", label="")
