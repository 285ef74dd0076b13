"""The pipeline: from a task to arrays, the same bytes every time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import encode, write_images
from support.imaging.pipelines import CROPPED, RESIZED, digest, make_plan, make_task, run

from penstock.protocol import philox
from penstock.protocol.errors import SpecError
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.order import sample_generator
from penstock.sources.base import Loaded
from penstock.worker.imaging.pipeline import Pipeline

#: SHA-256 of the golden task's arrays. Another value means that every stream in the world changed its bytes: raise the
#: version in `penstock.protocol.fingerprint` and say so in the CHANGELOG, or undo what did it.
GOLDEN = "05533bf7c052fbbbecf84d914c5ebe6f7adc68351d9ac71b6c5bd6cd91c24fd4"
GOLDEN_AUGMENTED = "9769590f46fe3a9e6d85ad4d38e98f2786f1614a9464e64bf9eeb62321c6db26"


def test_the_bytes_of_a_stream_never_change(tmp_path: Path) -> None:
    """A golden digest pins the order of draws, the offsets, the flips and the layout of every field.

    The pictures are lossless and made of integers, so that neither a decoder nor a sine on another CPU matters.
    """
    for place in range(4):
        y, x, channel = np.ogrid[0:48, 0:64, 0:3]
        pixels = ((3 * x + 5 * y) * (place + 1) + 85 * channel + x * y // 7) % 256
        (tmp_path / f"{place}.png").write_bytes(encode(pixels.astype(np.uint8), "PNG"))
    outcome = run(tmp_path, CROPPED, make_task([f"{place}.png" for place in range(4)]), patches=3)
    assert () == outcome.failures
    assert GOLDEN == digest(outcome.arrays)


def test_the_bytes_of_an_augmented_stream_never_change() -> None:
    """Every random change, its column and its arithmetic: any CPU, any OpenCV of version 5, any way of calling it."""
    y, x, channel, number = np.ogrid[0:40, 0:48, 0:3, 0:6]
    pixels = np.moveaxis(((3 * x + 5 * y) * (number + 1) + 85 * channel + x * y // 7) % 256, 3, 0).astype(np.uint8)
    augmented = {
        "resize": {"height": 40, "width": 48},
        "augment": {
            "rotation_range": 30.0,
            "width_shift_range": 0.2,
            "height_shift_range": 4,
            "brightness_range": (0.7, 1.3),
            "shear_range": 15.0,
            "zoom_range": 0.3,
            "channel_shift_range": 30.0,
            "horizontal_flip": True,
            "vertical_flip": True,
        },
        "normalize": {"samplewise_std_normalization": True},
    }
    worker, items = Pipeline(make_plan(augmented), {"photos": "/nowhere"}), np.arange(6) * 1000 + 7
    task = Task(key=TaskKey(stream="train", ordinal=5), attempt=0, epoch=3, items=())
    for contents in (pixels, list(pixels)):
        outcome = worker.make(task, Loaded(items, np.arange(6, dtype=np.int32), [""] * 6, contents))
        assert (6, 40, 48, 3) == outcome.arrays[0].shape
        assert GOLDEN_AUGMENTED == digest(outcome.arrays)


def test_a_sample_is_cut_and_flipped_as_documented(photos: Path, paths: list[str]) -> None:
    """From the sample's generator: y, then x, then the flip; item by item, patch by patch."""
    task = make_task(paths)
    image, label, item, patch = run(photos, CROPPED, task, patches=3).arrays
    row = 0
    for entry in task.items:
        whole = np.asarray(Image.open(photos / entry.path))
        for index in range(3):
            rng = sample_generator(11, task.epoch, entry.item, index)
            y, x = int(rng.random() * (48 - 20 + 1)), int(rng.random() * (64 - 24 + 1))
            expected = whole[y : y + 20, x : x + 24]
            if rng.random() < 0.5:
                expected = expected[:, ::-1]
            assert np.array_equal(expected, image[row])
            assert (entry.label, entry.item, index) == (label[row], item[row], patch[row])
            row += 1
    assert row == len(image)


@pytest.mark.parametrize(
    ("transform", "patches"),
    [
        (RESIZED, 1),
        (RESIZED | {"color": "gray", "augment": {"horizontal_flip": True}}, 1),
        (CROPPED, 5),
        (RESIZED | CROPPED, 5),
        (CROPPED | {"color": "gray"}, 2),
        ({"resize": {"height": 24, "width": 32, "filter": "area", "fit": "cover"}}, 1),
        ({"patch": {"kind": "center", "height": 20, "width": 24}, "exif_orientation": True}, 1),
        ({"patch": {"kind": "grid", "height": 20, "width": 24, "rows": 2, "columns": 3}}, 6),
    ],
)
def test_a_tasks_bytes_depend_on_nothing_but_the_task(
    photos: Path, paths: list[str], transform: dict[str, Any], patches: int
) -> None:
    """Run again, in a used or a fresh pipeline, and item by item: always the same rows."""
    task = make_task(paths)
    used = Pipeline(make_plan(transform, patches), {"photos": str(photos)})
    first, again = used.run(task), used.run(task)
    fresh = run(photos, transform, task, patches)
    assert digest(first.arrays) == digest(again.arrays) == digest(fresh.arrays)
    alone = [used.run(make_task(paths, alone=place)).arrays for place in reversed(range(len(paths)))]
    for field, whole in enumerate(first.arrays):
        assert np.array_equal(whole, np.concatenate([arrays[field] for arrays in reversed(alone)]))


def test_epoch_item_patch_and_seed_each_change_what_is_drawn(photos: Path, paths: list[str]) -> None:
    """Two samples of the same file are the same only if all four agree."""
    key = TaskKey(stream="train", ordinal=0)

    def sample(seed: int, epoch: int, item: int, patch: int) -> bytes:
        task = Task(key=key, attempt=0, epoch=epoch, items=(Item(item=item, path=paths[0], label=0),))
        arrays = Pipeline(make_plan(CROPPED, 2, seed), {"photos": photos}).run(task).arrays
        found: bytes = arrays[0][patch].tobytes()
        return found

    variants = [(1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 0)]
    assert 5 == len({sample(*variant) for variant in variants})
    assert sample(*variants[0]) == sample(*variants[0])


def test_the_attempt_changes_nothing(photos: Path, paths: list[str]) -> None:
    """A second try makes the same bytes."""
    task = make_task(paths)
    later = task.replaced(attempt=2)
    assert digest(run(photos, CROPPED, task, 2).arrays) == digest(run(photos, CROPPED, later, 2).arrays)


def test_samples_that_draw_nothing_run_no_cipher(
    photos: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody asked for costs nothing."""

    def refuse(*_: object) -> None:
        raise AssertionError("a number was drawn")

    monkeypatch.setattr(philox, "_philox", refuse)
    center = {"patch": {"kind": "center", "height": 20, "width": 24}}
    for transform in (RESIZED, center, RESIZED | {"patch": {"kind": "grid", "height": 20, "width": 24}}):
        assert 8 == len(run(photos, transform, make_task(paths)).arrays[0])
    with pytest.raises(AssertionError, match="a number was drawn"):
        run(photos, CROPPED, make_task(paths))


def test_an_outcome_is_not_changed_by_the_next_task(photos: Path, paths: list[str]) -> None:
    """Results are sent without a copy while the next task is made."""
    worker = Pipeline(make_plan(RESIZED), {"photos": photos})
    outcome = worker.run(make_task(paths))
    before = digest(outcome.arrays)
    worker.run(make_task(paths[::-1]))
    assert before == digest(outcome.arrays)


def test_real_photos_yield_ten_patches_each(shared_data: Path) -> None:
    """The largest photos there are, cut at random, equal Pillow's crops."""
    files = sorted((shared_data / "camera").glob("*.jpg"))[:3]
    transform = {"patch": {"kind": "random", "height": 224, "width": 224}}
    task = make_task([f"camera/{file.name}" for file in files])
    image = run(shared_data, transform, task, patches=10).arrays[0]
    for place, file in enumerate(files):
        whole = np.asarray(Image.open(file).convert("RGB"))
        for index in range(10):
            rng = sample_generator(11, task.epoch, task.items[place].item, index)
            y, x = (int(rng.random() * (side - 223)) for side in whole.shape[:2])
            assert np.array_equal(whole[y : y + 224, x : x + 224], image[10 * place + index])


def test_a_sample_says_which_manipulation_it_shows(photos: Path, paths: list[str]) -> None:
    """The field holds the index that the last of the cutter's uniforms stands for, beside the right pixels."""
    mix = {"choices": [{"kind": "gamma", "value": 0.5}, {"kind": "rot90", "turns": 2}]}
    transform = {"patch": {"kind": "random", "height": 20, "width": 24}, "manipulations": mix}
    task = make_task(paths)
    image, _, item, patch, manipulation = run(photos, transform, task, patches=5).arrays
    table = np.floor(255.0 * (np.arange(256) / 255.0) ** 0.5 + 0.5).astype(np.uint8)
    wholes = {entry.item: np.asarray(Image.open(photos / entry.path)) for entry in task.items}
    for row, (pixels, index) in enumerate(zip(image, manipulation, strict=True)):
        draws = sample_generator(11, task.epoch, int(item[row]), int(patch[row])).random(3)
        assert int(draws[2] * 3) == index
        y, x = int(draws[0] * (48 - 20 + 1)), int(draws[1] * (64 - 24 + 1))
        cut = wholes[int(item[row])][y : y + 20, x : x + 24]
        assert np.array_equal((cut, table[cut], np.rot90(cut, 2))[index], pixels)
    assert {0, 1, 2} == set(manipulation.tolist())


def test_links_out_of_the_root_may_be_allowed(tmp_path: Path) -> None:
    """The source decides, and the worker obeys."""
    write_images(tmp_path / "outside", ("cat",), 1)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/x.jpg").symlink_to("../outside/cat/00000.jpg")
    task = make_task(["x.jpg"])
    for allowed in (False, True):
        worker = Pipeline(make_plan(RESIZED, allow_outside=allowed), {"photos": tmp_path / "root"})
        assert int(allowed) == len(worker.run(task).arrays[0])


def test_a_missing_root_says_how_to_map_it(tmp_path: Path) -> None:
    """The error names the stream, the root, what is mapped, and the flag."""
    with pytest.raises(SpecError, match=r"'train' reads root 'photos'.*mapped: other.*--root photos=/path"):
        Pipeline(make_plan(RESIZED), {"other": tmp_path})
    with pytest.raises(SpecError, match=r"mapped: none"):
        Pipeline(make_plan(RESIZED), {})


def test_timings_say_where_the_time_went(photos: Path, paths: list[str]) -> None:
    """Reading is only known to `run`; all of it together is no more than what passed."""
    worker, task = Pipeline(make_plan(RESIZED), {"photos": photos}), make_task(paths)
    whole, made = worker.run(task).timings, worker.make(task, worker.read(task)).timings
    assert min(whole.read_s, whole.decode_s, whole.transform_s) > 0.0
    assert (0.0, 0.0) == (made.read_s, made.send_s)
