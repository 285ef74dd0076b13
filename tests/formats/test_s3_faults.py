"""Tar shards on a server that speaks S3 (moto's), behind a proxy that answers late and wrongly."""

import os
from collections.abc import Iterator
from pathlib import Path

import boto3  # pyright: ignore[reportMissingImports]
import pytest
from moto.server import ThreadedMotoServer  # pyright: ignore[reportMissingImports]
from support.sources.faulty_proxy import faulty
from support.sources.tars import sample, write_tar
from support.streams import digest, epochs, make_images, make_spec, make_stream, run_stack

from penstock.protocol.errors import ItemError
from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.spec import parse_spec
from penstock.sources.base import open_reader
from penstock.ventilator.sources.catalog import Catalog

pytestmark = pytest.mark.formats

#: What the proxy does to requests for parts: see `FaultyProxy`.
TROUBLES = ("slow-down", "reset", "cut", "short", "shifted")
SOURCE = {"kind": "tar", "root": "photos", "path": "{0..3}.tar"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Upload four shards; return the folder that they came from."""
    root = tmp_path_factory.mktemp("s3")
    files = sorted(make_images(root / "images", each=12, size=48).rglob("*.jpg"))
    (root / "shards").mkdir()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.get_host_and_port()[1]}",
            "XDG_CACHE_HOME": str(root / "cache"),
        }.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="photos")
        for number in range(4):
            shard = root / f"shards/{number}.tar"
            samples = [sample(f"{file.parent.name}{file.stem}", file.read_bytes()) for file in files[number::4]]
            write_tar(shard, [member for members in samples for member in members])
            client.upload_file(str(shard), "photos", shard.name)
        yield root / "shards"
    server.stop()


def server_port() -> int:
    """Return where moto's server listens."""
    return int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])


@pytest.mark.parametrize("trouble", TROUBLES)
def test_parts_that_come_wrongly_are_asked_for_again(
    shards: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Throttled, reset before or within a body, of another length, of another place: once for each; then the bytes."""
    spec = parse_spec({"roots": {"photos": str(shards)}, "streams": {"train": make_stream(source=SOURCE)}})
    here = Catalog.open(spec, spec.roots)
    tasks = here.plans[0].geometry.tasks_per_epoch
    keys = [TaskKey(stream="train", ordinal=number) for number in range(tasks)]
    reader = open_reader(here.plans[0], spec.roots)
    contents = [each for key in keys for each in reader.read(here.task(key, 0)).contents]
    expected = [bytes(each) for each in contents if not isinstance(each, ItemError)]
    assert 24 == len(expected)
    with faulty(server_port(), (trouble,)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        spec = parse_spec({"roots": {"photos": "s3://photos"}, "streams": {"train": make_stream(source=SOURCE)}})
        there = Catalog.open(spec, spec.roots)
        reader = open_reader(there.plans[0], spec.roots)
        found = [each for key in keys for each in reader.read(there.task(key, 0)).contents]
    assert expected == found
    assert len(proxy.asked) == proxy.made[trouble] > 1


def test_a_stream_from_a_bad_server_is_that_of_the_folder(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request waits 50 ms, each part fails twice: the same digest, by several requests at once."""
    with run_stack(make_spec(shards, train=make_stream(source=SOURCE)), workers=1) as stack:
        expected = digest(epochs(stack.feed(), 2))
    with faulty(server_port(), TROUBLES, 0.05, times=2) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("XDG_CACHE_HOME", str(shards.parent / "other-cache"))
        streams = {"plain": make_stream(source=SOURCE), "kept": make_stream(source={**SOURCE, "cache_gb": 0.1})}
        spec = {**make_spec(shards), "roots": {"photos": "s3://photos"}, "streams": streams}
        with run_stack(spec, workers=2) as stack:
            found = {name: digest(epochs(stack.feed(name), 2)) for name in streams}
    assert dict.fromkeys(streams, expected) == found
    assert set(TROUBLES) == set(proxy.made)
    assert proxy.most_at_once > 1
