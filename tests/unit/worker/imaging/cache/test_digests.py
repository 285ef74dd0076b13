"""Where size and times of a file do not vouch for its image, the digest of its bytes decides."""

import os
import shutil
import time
from pathlib import Path

import pytest
from support.cache.pipelines import TRANSFORMS, cache_in, cached_plan, facts
from support.images import encode, picture
from support.imaging.pipelines import RESIZED, make_task
from support.streams import until

from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Cache as CacheSpec
from penstock.sources import files
from penstock.worker.imaging.cache.entry import digest_of
from penstock.worker.imaging.pipeline import Pipeline

TASK = make_task(["a.bmp"])
#: Files of one size, so that nothing but their bytes tells them apart.
CONTENTS = [encode(picture(number), "BMP") for number in range(4)]


def plan_of(*, verified: bool) -> StreamPlan:
    """Return a plan whose cache looks at times, or compares digests always."""
    plan = cached_plan(RESIZED)
    cache = CacheSpec(gb=1.0, verify="digest" if verified else "times")
    return plan.model_copy(update={"settings": plan.settings.model_copy(update={"cache": cache})})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with one file."""
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "a.bmp").write_bytes(CONTENTS[0])
    return folder


@pytest.fixture
def still(root: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """Let every file look as if it had never changed since now; return when that is (s)."""
    status = (root / "a.bmp").stat()
    now = time.time_ns()
    monkeypatch.setattr(files, "_identity", lambda _: (status.st_ino, status.st_size, now, now))
    return now / 1e9


def copied_back(folder: Path) -> None:
    """Replace a folder by a copy of itself: other inodes and times of entry, equal sizes and times of change."""
    shutil.copytree(folder, folder.with_name("copy"))  # with times
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)


def test_a_folder_that_was_copied_keeps_its_images(root: Path, tmp_path: Path) -> None:
    """Its file is read once and not decoded; after that it is not even read. Nothing is written but a header."""
    cache = cache_in(tmp_path / "cache")
    pipeline = Pipeline(plan_of(verified=False), {"photos": root}, cache=cache)
    expected = facts(pipeline.run(TASK))
    used = cache.store.used_bytes()
    for turn in range(3):
        before = (root / "a.bmp").stat()
        copied_back(root)
        status = (root / "a.bmp").stat()
        assert (before.st_size, before.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
        assert status.st_ino != before.st_ino
        loaded = pipeline.read(TASK)
        assert [CONTENTS[0]] == list(loaded.contents)
        assert expected == facts(pipeline.make(TASK, loaded))
        loaded = pipeline.read(TASK)
        assert [b""] == list(loaded.contents)
        assert expected == facts(pipeline.make(TASK, loaded))
        assert (2 * turn + 2, 1) == (cache.counts.hits, cache.counts.misses)
    assert used == cache.store.used_bytes()


@pytest.mark.parametrize("recipe", ["resized", "centered", "imagenet_eval", "imagenet_train"])
def test_a_digest_is_taken_when_the_file_is_read(recipe: str, tmp_path: Path) -> None:
    """Its bytes are in the processor's caches then. It waits where nothing may be kept; a copy is found by either."""
    root, cache = tmp_path / "root", cache_in(tmp_path / "cache")
    root.mkdir()
    contents = [encode(picture(0, 1, 400, 500), "BMP"), CONTENTS[0]]
    for name, content in zip("ab", contents, strict=True):
        (root / f"{name}.bmp").write_bytes(content)
    task = make_task(["a.bmp", "b.bmp"])
    pipeline = Pipeline(cached_plan(*TRANSFORMS[recipe]), {"photos": root}, cache=cache)
    loaded = pipeline.read(task)
    expected_digests = [b"" if recipe == "imagenet_train" else digest_of(content) for content in contents]
    assert expected_digests == [known.digest for known in loaded.known or ()]
    expected = facts(pipeline.make(task, loaded))
    copied_back(root)
    assert expected == facts(pipeline.run(task))
    assert (2, 2) == (cache.counts.hits, cache.counts.misses)


@pytest.mark.parametrize("verified", [False, True])
def test_a_file_that_was_replaced_with_its_time_set_back_is_another_image(
    root: Path, tmp_path: Path, *, verified: bool
) -> None:
    """Of the same size and time of change, in place and by renaming; both ways of comparing see it, in every epoch."""
    plan, cache = plan_of(verified=verified), cache_in(tmp_path / "cache")
    pipeline, file = Pipeline(plan, {"photos": root}, cache=cache), root / "a.bmp"
    seen = set()
    for number, content in enumerate(CONTENTS):
        status = file.stat()
        target = file if number % 2 else root / "fresh"
        target.write_bytes(content)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        target.replace(file)
        assert (status.st_size, status.st_mtime_ns) == (file.stat().st_size, file.stat().st_mtime_ns)
        expected = facts(Pipeline(plan, {"photos": root}).run(TASK))
        for _ in range(2):
            assert expected == facts(pipeline.run(TASK))
        seen.add(expected[0])
    assert len(CONTENTS) == len(seen)
    assert (4, 4) == (cache.counts.hits, cache.counts.misses)


@pytest.mark.usefixtures("still")
def test_a_file_that_changed_just_now_is_kept_and_compared_each_time(root: Path, tmp_path: Path) -> None:
    """It may change again within the tick of a coarse clock and look the same, so that only its bytes tell."""
    plan, cache = plan_of(verified=False), cache_in(tmp_path / "cache", settled_s=3600.0)
    pipeline = Pipeline(plan, {"photos": root}, cache=cache)
    for content in CONTENTS:
        (root / "a.bmp").write_bytes(content)
        expected = facts(Pipeline(plan, {"photos": root}).run(TASK))
        for _ in range(2):
            assert expected == facts(pipeline.run(TASK))
    assert (4, 4) == (cache.counts.hits, cache.counts.misses)


def test_a_files_age_counts_from_when_it_was_read_not_from_when_its_image_was_made(
    root: Path, tmp_path: Path, still: float
) -> None:
    """Tasks are read ahead: a file that was young when it was read may have changed since, and look the same."""
    plan = plan_of(verified=False)
    loaded = Pipeline(plan, {"photos": root}, cache=cache_in(tmp_path / "cache")).read(TASK)
    cache = cache_in(tmp_path / "cache", settled_s=loaded.known[0].asked_at - still + 0.05)
    until(lambda: time.time() - still > cache.settled_s, "the file to look settled")
    pipeline = Pipeline(plan, {"photos": root}, cache=cache)
    pipeline.make(TASK, loaded)
    (root / "a.bmp").write_bytes(CONTENTS[1])
    assert facts(Pipeline(plan, {"photos": root}).run(TASK)) == facts(pipeline.run(TASK))


def test_comparing_digests_always_sees_what_no_time_tells(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's clock that stands still, or writing by a mapping: `verify = "digest"` is for them, as it reads all."""
    same = (1, len(CONTENTS[0]), 1, 1)
    monkeypatch.setattr(files, "_identity", lambda _: same)
    for verified in (False, True):
        (root / "a.bmp").write_bytes(CONTENTS[0])
        plan, cache = plan_of(verified=verified), cache_in(tmp_path / str(verified))
        pipeline = Pipeline(plan, {"photos": root}, cache=cache)
        first = facts(pipeline.run(TASK))
        (root / "a.bmp").write_bytes(CONTENTS[1])
        expected = facts(Pipeline(plan, {"photos": root}).run(TASK))
        assert expected != first
        assert verified == (expected == facts(pipeline.run(TASK)))
        assert verified == (expected == facts(pipeline.run(TASK)))
        assert (1 if verified else 2) == cache.counts.hits


def test_both_ways_share_one_store(root: Path, tmp_path: Path) -> None:
    """What one of them kept, the other one finds: entries bear the digest in any case."""
    cache = cache_in(tmp_path / "cache")
    for verified in (False, True, False):
        Pipeline(plan_of(verified=verified), {"photos": root}, cache=cache).run(TASK)
    assert (2, 1) == (cache.counts.hits, cache.counts.misses)
