"""Which images are worth keeping: what a worker tells of its decoding without a cache is what one would do."""

from pathlib import Path
from typing import Any

import pytest
from support.cache.pipelines import TRANSFORMS, cache_in, cached_plan
from support.images import encode, picture
from support.imaging.pipelines import make_task

from penstock.worker.imaging import makers, pipeline
from penstock.worker.imaging.pipeline import Pipeline

NAMES = ("large.jpg", "progressive.jpg", "medium.jpg", "small.jpg", "large.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with JPEGs that are large enough to be decoded in parts, and others."""
    folder, large = tmp_path_factory.mktemp("photos"), picture(2, 1, 600, 700)
    medium, small = encode(picture(4, 1, 300, 400)), encode(picture(3))
    files = (encode(large), encode(large, progressive=True), medium, small, encode(large, "PNG"))
    for name, content in zip(NAMES, files, strict=True):
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", TRANSFORMS)
def test_decoding_counts_as_that_of_parts_exactly_where_a_cache_keeps_nothing(
    photos: Path, name: str, tmp_path: Path
) -> None:
    """Large JPEGs of which each epoch decodes other parts. All of an image's decoding counts, or none of it."""
    transform, patches = TRANSFORMS[name]
    plan = cached_plan(transform, patches)
    plain = Pipeline(plan, {"photos": photos})
    for file in NAMES:
        task, cache = make_task([file]), cache_in(tmp_path / file)
        outcome = plain.run(task)
        told = outcome.timings
        assert told.parts_s in (0.0, told.decode_s)
        Pipeline(plan, {"photos": photos}, cache=cache).run(task)
        if not outcome.failures:
            assert (told.parts_s == 0.0) == (cache.counts.written_bytes > 0), file


def test_random_parts_of_large_jpegs_are_not_kept(photos: Path) -> None:
    """And those of small ones are; so are centres, and what is resized first."""
    expected = {"random": (True, False), "imagenet_train": (True, False), "centered": (False,) * 2}
    for name, told in (expected | {"resized_cut": (False,) * 2}).items():
        transform, patches = TRANSFORMS[name]
        pipeline = Pipeline(cached_plan(transform, patches), {"photos": photos})
        tasks = [make_task([file]) for file in ("large.jpg", "small.jpg")]
        assert told == tuple(pipeline.run(task).timings.parts_s > 0.0 for task in tasks), name


@pytest.mark.parametrize("name", ["random", "scattered", "imagenet_train", "dino"])
@pytest.mark.parametrize("cached", [False, True])
def test_choosing_parts_of_an_image_is_no_decoding(
    photos: Path, name: str, *, cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cache saves that, and so it counts as transforming; wherever in the decoding it happens."""
    passed = 0.0

    def clock() -> float:
        return passed

    for module in (makers, pipeline):
        monkeypatch.setattr(module, "perf_counter", clock)
    for maker in (makers.FramedSamples, makers.SteppedSamples):

        def windows(*args: Any, choose: Any = maker._windows) -> object:
            nonlocal passed
            passed += 100.0
            return choose(*args)

        monkeypatch.setattr(maker, "_windows", windows)
    transform, patches = TRANSFORMS[name]
    cache = cache_in(tmp_path) if cached else None
    worker = pipeline.Pipeline(cached_plan(transform, patches), {"photos": photos}, cache=cache)
    for file in ("medium.jpg", "large.jpg"):
        task = make_task([file])
        for _ in range(2):
            before, timings = passed, worker.make(task, worker.read(task)).timings
            assert (0.0, 0.0, passed - before) == (timings.decode_s, timings.parts_s, timings.transform_s), file
    assert passed > 0.0
