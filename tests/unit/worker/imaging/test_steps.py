"""Steps: which samples they change, with which random numbers, at any number of workers."""

import hashlib
import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.images import encode, picture
from support.imaging.pipelines import make_plan

from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.order import sample_generator
from penstock.protocol.philox import uniforms_of
from penstock.protocol.spec.step import Move
from penstock.protocol.spec.transform import Transform
from penstock.worker.imaging.pipeline import Pipeline
from penstock.worker.imaging.program import Program
from penstock.worker.imaging.steps import Steps, purpose_of

stats: Any = importlib.import_module("scipy.stats")

ITEMS = np.arange(200, dtype=np.int64)
SEED, EPOCH, PATCHES = 5, 2, 3
RESIZED = {"resize": {"height": 4, "width": 5}}


def images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return one small image a sample, all different."""
    return np.random.default_rng(3).integers(0, 256, (len(ITEMS) * PATCHES, 4, 5, 3), np.uint8)


def programs(steps: list[dict[str, Any]], size: tuple[int, int] = (4, 5)) -> list[Program]:
    """Return the program of every sample for images of this size."""
    transform = Transform.model_validate({**RESIZED, "steps": steps})
    applied = Steps(transform.steps, transform.step_keys, SEED, 10**6)
    applied.begin(EPOCH, ITEMS, PATCHES)
    return [applied.program(sample, size) for sample in range(len(ITEMS) * PATCHES)]


def flipped(key: str, p: float = 0.5) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which samples a step of this key changes, from the definition."""
    chances = [
        sample_generator(SEED, EPOCH, item, patch, purpose_of(key)).random()
        for item in ITEMS.tolist()
        for patch in range(PATCHES)
    ]
    return np.array(chances) < p


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_step_changes_the_samples_that_its_own_generator_chooses(p: float) -> None:
    """About the fraction `p` of them; the others stay as they are."""
    made = zip(images(), programs([{"op": "flip", "p": p}]), flipped("flip#0", p), strict=True)
    for before, program, flips in made:
        assert np.array_equal(before[:, ::-1] if flips else before, program.run(before))
    assert abs(float(flipped("flip#0", p).mean()) - p) < 0.06


def test_the_numbers_of_steps_are_uniform_and_apart() -> None:
    """10^5 samples' numbers of two steps, and of two views: Kolmogorov-Smirnov each, and no two go together."""
    items = np.arange(100_000, dtype=np.int64)
    keys = ("flip#0", "flip#1", "view/global_1/flip#0", "view/global_2/flip#0")
    drawn = uniforms_of(SEED, EPOCH, items, 1, [(purpose_of(key), 2) for key in keys])
    columns = np.concatenate([numbers.reshape(len(items), 2) for numbers in drawn], axis=1)
    for column in columns.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    together = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert float(np.abs(together).max()) < 4 / np.sqrt(len(items))
    assert stats.chisquare(np.bincount((columns[:, 0] < 0.3).astype(int)), [70_000, 30_000]).pvalue > 1e-3


def test_a_step_that_is_inserted_changes_no_other_steps_numbers() -> None:
    """Steps of different ops, or with keys, draw the same wherever they stand."""
    up = {"op": "flip", "direction": "vertical", "p": 0.5, "key": "up"}
    both = programs([up, {"op": "flip", "p": 0.5}])
    for before, program, ups, flips in zip(images(), both, flipped("up"), flipped("flip#0"), strict=True):
        turned = before[::-1] if ups else before
        assert np.array_equal(turned[:, ::-1] if flips else turned, program.run(before))


CROP = {"op": "random_resized_crop", "size": [10, 12]}
BEFORE = [{"op": "pad", "padding": 3}, {"op": "flip", "p": 0.5}, {"op": "resize", "shorter": 30}]


@pytest.mark.parametrize("before", BEFORE, ids=lambda step: str(step["op"]))
def test_a_crop_draws_the_same_numbers_whatever_is_before_it(before: dict[str, Any]) -> None:
    """Its draws are its own generator's, in the pipeline as in the step alone."""
    transform = Transform.model_validate({"steps": [before, CROP]})
    steps, crop = Steps(transform.steps, transform.step_keys, SEED, 10**6), transform.steps[1]
    steps.begin(EPOCH, ITEMS[:20], 1)
    alone = Steps(transform.steps[:1], transform.step_keys[:1], SEED, 10**6)
    alone.begin(EPOCH, ITEMS[:20], 1)
    pixels = picture(1, 1, 40, 50)
    for sample in range(20):
        draws = sample_generator(SEED, EPOCH, sample, 0, purpose_of("random_resized_crop#0")).random(23)[1:]
        image = alone.program(sample, (40, 50)).run(pixels)
        for action in crop.actions(image.shape[:2], draws):
            assert isinstance(action, Move)
            image = action.pixels(image)
        assert np.array_equal(image, steps.program(sample, (40, 50)).run(pixels))


#: Several operations of each kind at once.
RECIPE = [
    {"op": "random_resized_crop", "size": 40},
    {"op": "flip", "p": 0.5},
    {"op": "color_jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    {"op": "rotate", "degrees": 20, "filter": "bilinear", "p": 0.5},
    {"op": "gaussian_blur", "kernel_size": 5, "p": 0.5},
    {"op": "random_crop", "size": 36, "padding": 2, "mode": "reflect"},
    {"op": "random_erasing", "p": 0.5},
    {"op": "center_crop", "size": [30, 32]},
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images, three of them large enough to be decoded in part."""
    folder = tmp_path_factory.mktemp("photos")
    for place in range(15):
        height, width = (600, 500) if place % 5 == 0 else (40 + place, 60 - place)
        (folder / f"{place}.jpg").write_bytes(encode(picture(place, place % 3, height, width)))
    return folder


def digest(photos: Path, workers: int, task_items: int) -> str:
    """Return the digest of all samples, made by so many workers from tasks of so many items."""
    plan = make_plan({"steps": RECIPE}, patches=2)
    tasks = []
    for ordinal, first in enumerate(range(0, 15, task_items)):
        items = tuple(Item(item=place, path=f"{place}.jpg", label=0) for place in range(first, first + task_items))
        tasks.append(Task(key=TaskKey(stream="train", ordinal=ordinal), attempt=0, epoch=1, items=items))
    pipelines = [Pipeline(plan, {"photos": photos}) for _ in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(lambda share, pipeline: [pipeline.run(task) for task in share], tasks[place::workers], pipeline)
            for place, pipeline in enumerate(pipelines)
        ]
        outcomes = {place: job.result() for place, job in enumerate(jobs)}
    result = hashlib.sha256()
    for place in range(len(tasks)):
        outcome = outcomes[place % workers][place // workers]
        assert () == outcome.failures
        result.update(outcome.arrays[0].tobytes())
    return result.hexdigest()


@pytest.mark.parametrize(("workers", "task_items"), [(1, 5), (2, 3), (5, 1)])
def test_any_number_of_workers_makes_the_same_bytes(photos: Path, workers: int, task_items: int) -> None:
    """Samples depend on nothing but their position, wherever and in whatever company they are made."""
    assert digest(photos, 1, 15) == digest(photos, workers, task_items)


def test_a_stream_without_decoding_in_parts_has_the_same_bytes(photos: Path) -> None:
    """The window of the first crop is decoded alone only where that gives the same pixels."""
    paths = [f"{place}.jpg" for place in (0, 5, 10)]
    items = tuple(Item(item=place, path=path, label=0) for place, path in enumerate(paths))
    task = Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=0, items=items)
    whole, part = (
        Pipeline(make_plan({"steps": RECIPE, "partial_decoding": partial}), {"photos": photos}).run(task)
        for partial in (False, True)
    )
    assert np.array_equal(whole.arrays[0], part.arrays[0])
