"""Writes one set of images with the tools that people write data sets with."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets  # pyright: ignore[reportMissingImports]
import lmdb  # pyright: ignore[reportMissingImports]
import pyarrow as pa
import tensorflow as tf
import webdataset  # pyright: ignore[reportMissingImports]
from pyarrow import parquet
from support.sources import mds

#: Python with MosaicML Streaming, which needs other versions of what the other tools need; empty: it is not installed.
MOSAICML_PYTHON = os.environ.get("FORMATS_MOSAICML_PYTHON", "")
#: Seconds that a program may take to write a few images, imports of PyTorch included.
_WRITER_S = 300


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file and its class."""

    content: bytes
    label: str


Samples = Sequence[Sample]


def write_tar(root: Path, samples: Samples) -> None:
    """Write shards of seven samples with WebDataset's ShardWriter."""
    with webdataset.ShardWriter(str(root / "tar-%06d.tar"), maxcount=7, verbose=0) as writer:
        for number, sample in enumerate(samples):
            writer.write({"__key__": f"{number:06}", "jpg": sample.content, "cls": sample.label})


def _dataset(samples: Samples) -> Any:
    names = sorted({sample.label for sample in samples})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    images = [{"bytes": sample.content, "path": None} for sample in samples]
    return datasets.Dataset.from_dict(
        {"image": images, "label": [sample.label for sample in samples]}, features=features
    )


def write_arrow(root: Path, samples: Samples) -> None:
    """Write two files with `datasets`' save_to_disk."""
    _dataset(samples).save_to_disk(str(root / "arrow"), num_shards=2)


def write_hub(root: Path, samples: Samples) -> None:
    """Write a Parquet file as `datasets` uploads it."""
    _dataset(samples).to_parquet(str(root / "hub.parquet"), batch_size=7)


def write_parquet(root: Path, samples: Samples) -> None:
    """Write a Parquet file of plain columns with pyarrow, a few rows a group."""
    columns = {"picture": [sample.content for sample in samples], "name": [sample.label for sample in samples]}
    parquet.write_table(pa.table(columns), root / "plain.parquet", row_group_size=5)


def write_tfrecord(root: Path, samples: Samples) -> None:
    """Write a file with TensorFlow's TFRecordWriter."""
    with tf.io.TFRecordWriter(str(root / "train-00000-of-00001")) as writer:
        for sample in samples:
            features = {
                "image/encoded": _bytes_feature(sample.content),
                "image/format": _bytes_feature(b"JPEG"),
                "image/class/text": _bytes_feature(sample.label.encode()),
                "image/object/bbox/xmin": tf.train.Feature(float_list=tf.train.FloatList(value=[0.25, 0.5])),
                "image/height": tf.train.Feature(int64_list=tf.train.Int64List(value=[-1])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def _bytes_feature(value: bytes) -> Any:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def write_lmdb(root: Path, samples: Samples) -> None:
    """Write a data base with py-lmdb, in several transactions."""
    with lmdb.open(str(root / "lmdb"), map_size=1 << 26) as environment:
        for number, sample in enumerate(samples):
            with environment.begin(write=True) as transaction:
                transaction.put(f"image-{number:06}".encode(), sample.content)
                transaction.put(f"label-{number:06}".encode(), sample.label.encode())


def write_mds(root: Path, samples: Samples) -> None:
    """Write shards with MosaicML Streaming's MDSWriter, in a program of another environment; else one by hand."""
    if not MOSAICML_PYTHON:
        (root / "mds").mkdir()
        columns = {"image": "bytes", "label": "str", "width": "int"}
        values = [[sample.content, sample.label.encode(), bytes(8)] for sample in samples]
        mds.write_mds(root / "mds/shard.00000.mds", columns, values)
        return
    folder = root / "mds-input"
    folder.mkdir()
    for number, sample in enumerate(samples):
        (folder / f"{number:06}.jpg").write_bytes(sample.content)
    (folder / "labels.json").write_text(json.dumps([sample.label for sample in samples]), encoding="utf-8")
    script = Path(__file__).with_name("write_mds.py")
    done = subprocess.run(
        [MOSAICML_PYTHON, script, folder, root / "mds"], capture_output=True, text=True, timeout=_WRITER_S, check=False
    )
    assert 0 == done.returncode, done.stderr[-2000:]


#: For each kind of file: what writes it, and the source that reads it.
WRITERS: Mapping[str, tuple[Callable[[Path, Samples], None], Mapping[str, str]]] = {
    "tar": (write_tar, {"kind": "tar", "path": "tar-*.tar"}),
    "arrow": (write_arrow, {"kind": "arrow", "path": "arrow/data-*.arrow"}),
    "hub": (write_hub, {"kind": "parquet", "path": "hub.parquet"}),
    "parquet": (write_parquet, {"kind": "parquet", "path": "plain.parquet", "image": "picture", "label": "name"}),
    "tfrecord": (write_tfrecord, {"kind": "tfrecord", "path": "train-*-of-00001", "label": "image/class/text"}),
    "lmdb": (
        write_lmdb,
        {"kind": "lmdb", "path": "lmdb/data.mdb", "image": "image-{}", "label": "label-{}"},
    ),
    "mds": (write_mds, {"kind": "mds", "path": "mds/shard.*.mds"}),
}
