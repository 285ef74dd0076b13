"""Which images are worth keeping: what a worker tells of its decoding without a cache is what one would do."""

from pathlib import Path

import pytest
from support.cache.pipelines import TRANSFORMS, cache_in, cached_plan
from support.images import encode, picture
from support.imaging.pipelines import make_task

from penstock.worker.imaging.pipeline import Pipeline

NAMES = ("large.jpg", "progressive.jpg", "small.jpg", "large.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with JPEGs that are large enough to be decoded in parts, and others."""
    folder, large = tmp_path_factory.mktemp("photos"), picture(2, 1, 600, 700)
    files = (encode(large), encode(large, progressive=True), encode(picture(3)), encode(large, "PNG"))
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
