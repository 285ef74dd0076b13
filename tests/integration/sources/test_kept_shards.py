"""Whole shards of a URL that workers keep on their host's disk, in a stack of real processes."""

from pathlib import Path

import pytest
from support.sources.tars import sample, write_tar
from support.streams import digest, epochs, make_images, make_spec, make_stream, run_stack
from support.web import serve


def test_kept_shards_give_the_same_samples_and_are_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers, two epochs: the samples of the folder of shards, and no shard leaves the server more than once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = sorted(make_images(tmp_path / "images", each=12, size=48).rglob("*.jpg"))
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(4):
        part = files[number::4]
        write_tar(
            shards / f"{number}.tar",
            [each for file in part for each in sample(f"{file.parent.name}{file.stem}", file.read_bytes())],
        )
    source = {"kind": "tar", "root": "photos", "path": "{0..3}.tar"}
    with run_stack(make_spec(shards, train=make_stream(source=source)), workers=1) as stack:
        expected = digest(epochs(stack.feed(), 2))
    with serve(shards) as web:
        spec = make_spec(shards, train=make_stream(source=source | {"cache_gb": 0.1})) | {"roots": {"photos": web.url}}
        with run_stack(spec, workers=2) as stack:
            found = digest(epochs(stack.feed(), 2))
        sent = web.parts
    assert expected == found
    # Questions which content a shard has bring one byte; a worker that takes the place of another asks again.
    for file in shards.iterdir():
        parts = sorted((first, end) for first, end in sent[f"/{file.name}"] if end - first > 1)
        assert file.read_bytes() == b"".join(file.read_bytes()[first:end] for first, end in parts)
