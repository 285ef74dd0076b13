"""What `penstock check` measures of a cache: with the worker's own code, and without leaving anything behind."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.images import encode, picture
from support.streams import make_spec, make_stream

from penstock.commands.checking import cache_gain
from penstock.commands.checking.cache_estimate import estimate_cache
from penstock.commands.checking.cache_gain import CacheGain, measure_gain
from penstock.commands.checking.memory_estimate import look_at
from penstock.protocol.spec.spec import parse_spec
from penstock.ventilator.sources.catalog import Catalog

RESIZED = {"resize": {"height": 24, "width": 32}}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of twelve photos of 800 × 600, and one file that is none."""
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    for number in range(12):
        (tmp_path / "photos" / "cat" / f"{number}.jpg").write_bytes(encode(picture(number, 0, 600, 800)))
    (tmp_path / "photos" / "cat" / "bad.jpg").write_bytes(b"no JPEG")
    return tmp_path / "photos"


def gain(root: Path, **stream: Any) -> CacheGain | None:
    """Return what a cache gains for a stream."""
    spec = parse_spec(make_spec(root, train=make_stream(**stream)))
    catalog = Catalog.open(spec, spec.roots)
    [plan] = catalog.plans
    images = look_at(catalog, plan, spec.roots).images
    return measure_gain(catalog, plan, spec.roots, estimate_cache(plan, images), images)


@pytest.mark.parametrize("cache", [None, {"gb": 0.001}])
def test_it_is_measured_with_a_cache_in_the_spec_and_without(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: dict[str, float] | None
) -> None:
    """Photos that are resized to a thousandth: nearly all is decoding. Bad files count on neither side.

    Whatever the spec gives the cache, and nothing of what was kept stays on the disk.
    """
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    found = gain(photos, transform=RESIZED, patches=1, cache=cache)
    assert found is not None
    assert found.ratio > 2
    assert "a worker is" in found.sentence
    assert [] == [*(tmp_path / "t").iterdir()]


def test_nothing_is_measured_where_nothing_is_kept(photos: Path, tmp_path: Path) -> None:
    """Random parts of large JPEGs, and arrays."""
    part = {"patch": {"kind": "random", "height": 300, "width": 300}}
    assert gain(photos, transform=part, patches=1) is None
    np.save(tmp_path / "images.npy", np.zeros((20, 24, 32, 3), np.uint8))
    source = {"kind": "arrays", "root": "photos", "images": "images.npy"}
    assert gain(tmp_path, source=source, transform=RESIZED, patches=1) is None


def test_where_the_disk_has_no_room_no_gain_is_told(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that could not be kept would be decoded again: that is no measurement of a cache."""
    monkeypatch.setattr(cache_gain, "_ROOM_BYTES", 10_000)
    assert gain(photos, transform=RESIZED, patches=1) is None


def test_the_sentence_says_what_it_gains_or_that_it_gains_nothing() -> None:
    """From a tenth on."""
    words = "once it is kept, a sample takes 0.25 ms of processor time instead of 1.50: a worker is 6.0 times as fast"
    assert words == CacheGain(1.5, 0.25).sentence
    nothing = "a cache gains nothing here: a kept sample takes 0.98 ms of processor time, and 1.00 without"
    assert nothing == CacheGain(1.0, 0.98).sentence
