"""What `penstock check` says of single files that take longer to read than to decode."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import write_images
from support.sources.tars import sample, write_tar
from support.streams import make_spec, make_stream

from penstock.commands.converting import advice
from penstock.commands.converting.advice import Reading
from penstock.protocol.spec.spec import parse_spec
from penstock.ventilator.sources.catalog import Catalog


def timed(root: Path, source: dict[str, object], monkeypatch: pytest.MonkeyPatch, read_s: float) -> Reading | None:
    """Let reading an image take so long by the clock, and decoding it 4 ms."""

    def clock() -> Iterator[float]:
        now = 0.0
        while True:
            yield now
            yield now + read_s
            yield now + read_s + 0.004
            now += 1.0

    ticks = clock()
    monkeypatch.setattr(advice, "perf_counter", lambda: next(ticks))
    spec = parse_spec(make_spec(root, train=make_stream(source={"root": "photos", **source})))
    catalog = Catalog.open(spec, spec.roots)
    return advice.time_reading(catalog, catalog.plans[0], spec.roots)


@pytest.mark.parametrize(("read_s", "advised"), [(0.012, 1), (0.002, 0)])
def test_shards_are_recommended_where_reading_takes_longer(
    read_s: float, advised: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both times, in words; nothing is said where decoding takes longer."""
    write_images(tmp_path, ("cat", "dog"), 15)
    found = timed(tmp_path, {"kind": "directory"}, monkeypatch, read_s)
    assert found is not None
    assert pytest.approx([1e3 * read_s, 4.0]) == [found.read_ms, found.decode_ms]
    words = "reading limits: an image takes 12.0 ms to read, and 4.0 ms to decode; penstock convert writes"
    assert bool(advised) == found.sentence.startswith(words)
    assert bool(advised) == bool(found.sentence)
    assert found.sentence == found.as_json()["sentence"]


def test_shards_are_not_recommended_for_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there already."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_tar(tmp_path / "a.tar", sample("a", b"x", "cat"))
    assert timed(tmp_path, {"kind": "tar", "path": "a.tar"}, monkeypatch, 1.0) is None
