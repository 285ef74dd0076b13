"""The cache is never seen in the bytes: samples and failures are the same with it and without."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cache.pipelines import TRANSFORMS, cache_in, cached_plan, facts
from support.images import encode, picture, write_images
from support.imaging.jpeg_parts import needs_extension
from support.imaging.pipelines import RESIZED, make_task

from penstock.protocol.errors import ItemError
from penstock.worker.imaging import decode, partial_jpeg
from penstock.worker.imaging.cache.entry import Entry, Pixels, Source
from penstock.worker.imaging.makers import FramedSamples
from penstock.worker.imaging.pipeline import Pipeline

Entries = Sequence[tuple[bytes, Source, Entry]]
Put = Callable[[str, Entries], bool]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with files of every sort: small and large, odd, empty, damaged at the end, and no image."""
    root = tmp_path_factory.mktemp("photos")
    write_images(root, ("cat", "dog"), 2)
    (root / "lossless.png").write_bytes(encode(picture(1), "PNG"))
    large = encode(picture(2, 1, 600, 700), quality=90)
    (root / "large.jpg").write_bytes(large)
    (root / "damaged.jpg").write_bytes(large[: len(large) * 19 // 20])
    (root / "empty.jpg").write_bytes(b"")
    (root / "text.jpg").write_bytes(b"no image")
    (root / "tiny.png").write_bytes(encode(picture(3, 0, 3, 2), "PNG"))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (root / "turned.jpg").write_bytes(encode(picture(4), exif=exif))
    halved = encode(picture(5, 1, 331, 417), quality=90, subsampling=2)
    (root / "halved.jpg").write_bytes(halved)
    (root / "full.jpg").write_bytes(encode(picture(6, 1, 331, 417), quality=90, subsampling=0))
    (root / "torn.jpg").write_bytes(halved[: len(halved) // 2] + halved[-2:])
    return root


@pytest.fixture
def paths(photos: Path) -> list[str]:
    """Return the files below `photos`, and one that is missing."""
    return [*sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*")), "missing.jpg"]


def run_all(pipeline: Pipeline, paths: Sequence[str]) -> list[tuple[str, list[tuple[int, str, str]]]]:
    """Return the facts of three epochs."""
    return [facts(pipeline.run(make_task(list(paths), epoch))) for epoch in range(3)]


@needs_extension
@pytest.mark.parametrize("name", TRANSFORMS)
def test_they_are_the_same_on_hosts_without_the_extension(
    photos: Path, paths: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which makes colours only where samples look; failures of an item have the same kind and the same words."""
    transform, patches = TRANSFORMS[name]
    plan, roots = cached_plan(transform, patches), {"photos": photos}
    found = run_all(Pipeline(plan, roots), paths)
    monkeypatch.setattr(decode, "EXTENSION", None)
    monkeypatch.setattr(partial_jpeg, "_EXTENSION", None)
    assert run_all(Pipeline(plan, roots), paths) == found


@pytest.mark.parametrize("name", TRANSFORMS)
def test_samples_and_failures_are_the_same_with_and_without(
    photos: Path, paths: list[str], name: str, tmp_path: Path
) -> None:
    """Filling it, from it, and from what another process filled; damaged, empty and missing files fail in one way."""
    transform, patches = TRANSFORMS[name]
    plan, roots = cached_plan(transform, patches), {"photos": photos}
    expected = run_all(Pipeline(plan, roots), paths)
    cache = cache_in(tmp_path)
    assert expected == run_all(Pipeline(plan, roots, cache=cache), paths)
    assert cache.counts.hits
    other = cache_in(tmp_path)
    assert expected == run_all(Pipeline(plan, roots, cache=other), paths)
    assert other.counts.written_bytes <= cache.counts.written_bytes / 3 or not other.counts.misses


@pytest.mark.parametrize("name", ["resized", "imagenet_train", "imagenet_eval", "centered", "centered_large"])
def test_later_epochs_decode_nothing(photos: Path, name: str, tmp_path: Path) -> None:
    """Every image that can be made comes from the cache from the second epoch on, and none was read from its file."""
    transform, patches = TRANSFORMS[name]
    paths = ["large.jpg"] if name == "centered_large" else ["lossless.png", "turned.jpg"]
    cache = cache_in(tmp_path)
    pipeline = Pipeline(cached_plan(transform, patches), {"photos": photos}, cache=cache)
    pipeline.run(make_task(paths, 0))
    assert (0, len(paths)) == (cache.counts.hits, cache.counts.misses)
    loaded = pipeline.read(make_task(paths, 1))
    assert [b""] * len(paths) == list(loaded.contents)
    pipeline.make(make_task(paths, 1), loaded)
    assert (len(paths), len(paths)) == (cache.counts.hits, cache.counts.misses)
    assert cache.counts.saved_s >= 0.0


def test_two_transforms_and_two_roots_never_share_an_image_by_mistake(photos: Path, tmp_path: Path) -> None:
    """Every pair of recipes and two folders with other files of the same names, all in one store, in two epochs."""
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    (other / "lossless.png").write_bytes(encode(picture(77), "PNG"))
    cache, paths = cache_in(tmp_path / "cache"), ["lossless.png", "turned.jpg", "tiny.png"]
    for _ in range(2):
        for transform, patches in TRANSFORMS.values():
            plan = cached_plan(transform, patches)
            for root in (photos, other):
                plain, task = Pipeline(plan, {"photos": root}), make_task(paths)
                assert facts(plain.run(task)) == facts(Pipeline(plan, {"photos": root}, cache=cache).run(task))


def test_limits_of_the_spec_hold_for_what_another_spec_has_kept(photos: Path, tmp_path: Path) -> None:
    """A smaller max_megapixels or max_file_mb, and decoding in whole, quarantine what was kept without them."""
    cache = cache_in(tmp_path)
    for changes in ({}, {"max_megapixels": 0.001}, {"max_file_mb": 0.0001}, {"partial_decoding": False}):
        plan, task = cached_plan(TRANSFORMS["centered_large"][0] | changes), make_task(["large.jpg", "damaged.jpg"])
        expected = facts(Pipeline(plan, {"photos": photos}).run(task))
        assert expected == facts(Pipeline(plan, {"photos": photos}, cache=cache).run(task))
        assert expected == facts(Pipeline(plan, {"photos": photos}, cache=cache).run(task))


@pytest.mark.parametrize("way", ["in_place", "renamed", "same_size_and_time", "gone"])
def test_a_file_that_changes_during_the_run_is_seen(tmp_path: Path, way: str) -> None:
    """Between any two epochs: written anew, replaced, replaced by one of the same size and time of change, removed."""
    root = tmp_path / "root"
    root.mkdir()
    file, plan, task = root / "a.png", cached_plan(RESIZED), make_task(["a.png"])
    contents = [encode(picture(number), "BMP") for number in range(4)]
    file.write_bytes(contents[0])
    cache = cache_in(tmp_path / "cache")
    pipeline = Pipeline(plan, {"photos": root}, cache=cache)
    for content in contents:
        status = file.stat()
        if way in ("in_place", "gone"):
            file.write_bytes(content)
        else:
            (root / "fresh").write_bytes(content)
            (root / "fresh").replace(file)
        if way == "same_size_and_time":
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        for _ in range(2):
            assert facts(Pipeline(plan, {"photos": root}).run(task)) == facts(pipeline.run(task))
    assert (4, 4) == (cache.counts.hits, cache.counts.misses)
    file.unlink()
    assert facts(Pipeline(plan, {"photos": root}).run(task)) == facts(pipeline.run(task))


def test_parts_of_one_file_are_images_of_their_own(tmp_path: Path) -> None:
    """As in a tar file: the offset names the item."""
    parts = [encode(picture(number), "PNG") for number in range(3)]
    (tmp_path / "shard").write_bytes(b"".join(parts))
    spans, start = [], 0
    for part in parts:
        spans.append((start, len(part)))
        start += len(part)
    task = make_task(["shard"] * 3)
    items = tuple(item.replaced(span=span) for item, span in zip(task.items, spans, strict=True))
    task = task.replaced(items=items)
    cache, plan = cache_in(tmp_path / "cache"), cached_plan(RESIZED)
    expected = facts(Pipeline(plan, {"photos": tmp_path}).run(task))
    for _ in range(2):
        assert expected == facts(Pipeline(plan, {"photos": tmp_path}, cache=cache).run(task))
    assert (3, 3) == (cache.counts.hits, cache.counts.misses)


def test_a_reader_without_identities_is_served_by_the_digest_of_its_bytes(photos: Path, tmp_path: Path) -> None:
    """As below a URL: other bytes are another image, whatever their name."""
    cache, plan = cache_in(tmp_path), cached_plan(RESIZED)
    plain, cached = Pipeline(plan, {"photos": photos}), Pipeline(plan, {"photos": photos}, cache=cache)
    task = make_task(["same name"])
    for hits, name in enumerate(["lossless.png", "turned.jpg"]):
        loaded = replace(plain.read(make_task([name])), paths=["same name"])
        for _ in range(2):
            assert facts(plain.make(task, loaded)) == facts(cached.make(task, loaded))
        assert (hits + 1, hits + 1) == (cache.counts.hits, cache.counts.misses)


def test_rows_of_arrays_pass_by_the_cache(tmp_path: Path, photos: Path) -> None:
    """They are pixels already."""
    cache, plan = cache_in(tmp_path), cached_plan(RESIZED)
    plain, cached = Pipeline(plan, {"photos": photos}), Pipeline(plan, {"photos": photos}, cache=cache)
    task = make_task(["row"])
    loaded = replace(plain.read(make_task(["lossless.png"])), contents=[np.asarray(picture(5))], paths=["row"])
    assert facts(plain.make(task, loaded)) == facts(cached.make(task, loaded))
    assert (0, 0) == (cache.counts.hits, cache.counts.misses)


def test_an_image_whose_sample_fails_is_kept_before_another_takes_its_place(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lay where its sample would have been, and where the next item's sample lies then."""
    plan, roots, names = cached_plan(TRANSFORMS["resized_levels"][0]), {"photos": photos}, ["lossless.png", "large.jpg"]
    expected = facts(Pipeline(plan, roots).run(make_task(names, 1)))
    cache, write = cache_in(tmp_path), FramedSamples.write

    def failing(self: FramedSamples, pixels: Pixels, offset: int, *places: int) -> list[int]:
        if not offset:
            raise ItemError("no")
        return write(self, pixels, offset, *places)

    pipeline = Pipeline(plan, roots, cache=cache)
    with monkeypatch.context() as patch:
        patch.setattr(FramedSamples, "write", failing)
        assert [(0, "transform", "no")] == facts(pipeline.run(make_task(names)))[1]
    assert expected == facts(pipeline.run(make_task(names, 1)))
    assert (2, 2) == (cache.counts.hits, cache.counts.misses)


def test_an_image_that_is_its_sample_is_made_there(photos: Path, tmp_path: Path) -> None:
    """Nothing is copied where nothing cuts or moves it; elsewhere it has memory of its own."""
    placed = dict[str, bool]()
    for name in ("resized_cover", "resized_levels", "centered", "resized_cut", "resized_gray", "centered_augmented"):
        transform, patches = TRANSFORMS[name]
        cache, plan = cache_in(tmp_path), cached_plan(transform, patches)
        pipeline = Pipeline(plan, {"photos": photos}, cache=cache)
        room, put_all = np.empty(pipeline.room_bytes(1), np.uint8), cache.store.put_all
        found = list[Pixels]()

        def put(group: str, entries: Entries, found: list[Pixels] = found, put_all: Put = put_all) -> bool:
            found.extend(entry.pixels for _, _, entry in entries)
            return put_all(group, entries)

        cache.store.put_all = put  # type: ignore[method-assign]
        task = make_task(["large.jpg"])
        pipeline.make(task, pipeline.read(task), room)
        placed[name] = np.shares_memory(found[0], room)
    alone, others = (
        ("resized_cover", "resized_levels", "centered"),
        ("resized_cut", "resized_gray", "centered_augmented"),
    )
    assert dict.fromkeys(alone, True) | dict.fromkeys(others, False) == placed


def test_a_tasks_images_are_written_by_one_call(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs less time so; what was not kept together, because there is room for some only, is kept one by one."""
    calls, write = list[int](), os.pwritev

    def counted(descriptor: int, parts: Sequence[bytes], offset: int) -> int:
        calls.append(len(parts))
        return write(descriptor, parts, offset)

    monkeypatch.setattr(os, "pwritev", counted)
    cache, plan, names = cache_in(tmp_path), cached_plan(RESIZED), ["lossless.png", "turned.jpg", "tiny.png"]
    expected = facts(Pipeline(plan, {"photos": photos}).run(make_task(names)))
    pipeline = Pipeline(plan, {"photos": photos}, cache=cache)
    assert expected == facts(pipeline.run(make_task(names)))
    assert [9] == calls  # header, pixels and padding of three
    assert (3, 3 * 24 * 32 * 3) == (cache.counts.misses, cache.counts.written_bytes)
    other = cache_in(tmp_path / "other")
    put_all = other.store.put_all
    monkeypatch.setattr(other.store, "put_all", lambda group, entries: len(entries) == 1 and put_all(group, entries))
    assert expected == facts(Pipeline(plan, {"photos": photos}, cache=other).run(make_task(names)))
    assert [9, 3, 3, 3] == calls  # the second store wrote one by one
    assert (3, 3 * 24 * 32 * 3) == (other.counts.misses, other.counts.written_bytes)
