"""Shards and tables on a server that speaks S3 (moto's, on this machine) give the samples of the folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3  # pyright: ignore[reportMissingImports]
import pytest
from formats.writers import Sample, write_arrow, write_hub, write_tar, write_tfrecord
from moto.server import ThreadedMotoServer  # pyright: ignore[reportMissingImports]
from support.images import write_images
from support.streams import digest, epochs, make_spec, make_stream, run_stack

from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.spec import parse_spec
from penstock.sources.base import open_reader
from penstock.ventilator.sources.catalog import Catalog

pytestmark = pytest.mark.formats

#: Sources by name.
SOURCES: Mapping[str, Mapping[str, object]] = {
    "tar": {"kind": "tar", "path": "tar-*.tar"},
    "tar-kept": {"kind": "tar", "path": "tar-*.tar", "cache_gb": 0.1},
    "parquet": {"kind": "parquet", "path": "hub.parquet"},
    "parquet-kept": {"kind": "parquet", "path": "hub.parquet", "cache_gb": 0.1},
    "arrow-kept": {"kind": "arrow", "path": "arrow/data-*.arrow", "cache_gb": 0.1},
    "tfrecord": {"kind": "tfrecord", "path": "train-*-of-00001", "label": "image/class/text"},
}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Upload what the real tools wrote into a bucket; return the folder it came from."""
    root = tmp_path_factory.mktemp("s3") / "photos"
    samples = [Sample(file.read_bytes(), file.parent.name) for file in write_images(root, ("cat", "dog"), 12)]
    for write in (write_tar, write_arrow, write_hub, write_tfrecord):
        write(root, samples)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    port = server.get_host_and_port()[1]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "XDG_CACHE_HOME": str(root.parent / "cache"),
        }.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="photos")
        for file in root.rglob("*"):
            if file.is_file():
                client.upload_file(str(file), "photos", file.relative_to(root).as_posix())
        yield root
    server.stop()


def test_a_bucket_gives_the_samples_of_the_folder(bucket: Path) -> None:
    """Tree, tar shards, Arrow and TFRecord; requested item by item, and as whole shards that are kept."""
    folder = {"kind": "directory", "root": "photos", "classes": ["cat", "dog"]}
    streams = {"folder": make_stream(source=folder)}
    streams |= {name: make_stream(source={"root": "photos", **source}) for name, source in SOURCES.items()}
    with run_stack(make_spec(bucket) | {"streams": {"here": make_stream(source=folder)}}, workers=1) as stack:
        expected = digest(epochs(stack.feed("here"), 1))
    spec = {**make_spec(bucket), "roots": {"photos": "s3://photos"}, "streams": streams}
    with run_stack(spec, workers=1) as stack:
        found = {name: digest(epochs(stack.feed(name), 1)) for name in streams}
    assert dict.fromkeys(streams, expected) == found
    kept = list((bucket.parent / "cache/penstock/penstock-shards-1").rglob("*.shard"))
    assert len(list(bucket.glob("tar-*.tar"))) + len(list(bucket.glob("arrow/*.arrow"))) + 1 == len(kept)
    indexes = list((bucket.parent / "cache/penstock/shards").iterdir())
    assert len(kept) + len(list(bucket.glob("train-*"))) <= len(indexes)


def test_an_object_that_is_replaced_under_a_run_is_noticed(bucket: Path) -> None:
    """Each answer with a part of it carries its ETag: no image of another content comes, and the reason is told."""
    client = boto3.client("s3")
    for kind, path in (("tar", "replaced.tar"), ("parquet", "replaced.parquet")):
        one = next(iter(bucket.glob("tar-*.tar"))) if kind == "tar" else bucket / "hub.parquet"
        client.upload_file(str(one), "photos", path)
        stream = {**make_stream(source={"kind": kind, "root": "photos", "path": path}), "shuffle": False}
        spec = parse_spec({"roots": {"photos": "s3://photos"}, "streams": {"train": stream}})
        catalog = Catalog.open(spec, spec.roots)
        task = catalog.task(TaskKey(stream="train", ordinal=0), 0)
        assert all(isinstance(each, bytes) for each in open_reader(catalog.plans[0], spec.roots).read(task).contents)
        client.put_object(Bucket="photos", Key=path, Body=one.read_bytes() + bytes(1))
        words = {str(each) for each in open_reader(catalog.plans[0], spec.roots).read(task).contents}
        assert {"the file was replaced since it was listed: start again, so that it is listed anew"} == words
