"""The pipeline: from a task to arrays, the same bytes every time, and a named failure for each bad file."""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.images import encode, huge_jpeg, huge_png, open_to_all, picture, unprivileged, write_images
from support.streams import DEADLINE_S

from penstock.protocol import philox
from penstock.protocol.errors import ItemError, SpecError
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.order import sample_generator
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Stream
from penstock.protocol.spec.transform import Transform
from penstock.protocol.wire import Array
from penstock.sources.base import Loaded
from penstock.sources.directory import DirectorySource
from penstock.worker.imaging.pipeline import Outcome, Pipeline

#: SHA-256 of the golden task's arrays. Another value means that every stream in the world changed its bytes: raise the
#: version in `penstock.protocol.fingerprint` and say so in the CHANGELOG, or undo what did it.
GOLDEN = "05533bf7c052fbbbecf84d914c5ebe6f7adc68351d9ac71b6c5bd6cd91c24fd4"

GOLDEN_AUGMENTED = "9769590f46fe3a9e6d85ad4d38e98f2786f1614a9464e64bf9eeb62321c6db26"

RESIZED = {"resize": {"height": 24, "width": 32}}
CROPPED = {"patch": {"kind": "random", "height": 20, "width": 24}, "augment": {"horizontal_flip": True}}


def make_plan(transform: dict[str, Any], patches: int = 1, seed: int = 11, **source: Any) -> StreamPlan:
    """Return a stream of one transform; `source` are fields of its source."""
    return StreamPlan(
        name="train",
        seed=seed,
        settings=Stream(
            source=DirectorySource(kind="directory", root="photos", **source),
            transform=Transform.model_validate(transform),
            patches=patches,
        ),
        items=100,
        classes=("cat", "dog"),
        fingerprint="f",
    )


def make_task(paths: list[str], epoch: int = 3, alone: int | None = None) -> Task:
    """Return a task; item numbers are far apart and labels alternate."""
    items = tuple(Item(item=1000 * place + 7, path=path, label=place % 2) for place, path in enumerate(paths))
    if alone is not None:
        items = items[alone : alone + 1]
    return Task(key=TaskKey(stream="train", ordinal=5, item_offset=alone), attempt=0, epoch=epoch, items=items)


def run(root: Path, transform: dict[str, Any], task: Task, patches: int = 1) -> Outcome:
    """Run a task in a pipeline of its own, and check what holds for every outcome."""
    plan = make_plan(transform, patches)
    outcome = Pipeline(plan, {"photos": root}).run(task)
    samples = (len(task.items) - len(outcome.failures)) * patches
    for field, array in zip(plan.schema, outcome.arrays, strict=True):
        assert (field.dtype, (samples, *field.shape)) == (array.dtype.name, array.shape), field.name
        assert array.flags.c_contiguous
    return outcome


def digest(arrays: list[Array]) -> str:
    """Return the SHA-256 of all arrays' bytes."""
    result = hashlib.sha256()
    for array in arrays:
        result.update(array.tobytes())
    return result.hexdigest()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with eight small PNG files: lossless, so that no decoder's version matters."""
    root = tmp_path_factory.mktemp("photos")
    write_images(root, ("cat", "dog"), 4, suffix=".png")
    return root


@pytest.fixture
def paths(photos: Path) -> list[str]:
    """Return the files below `photos`."""
    return sorted(path.relative_to(photos).as_posix() for path in photos.glob("*/*"))


# bytes


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
    later = task.model_copy(update={"attempt": 2})
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


# failures


def bad_files(root: Path) -> Iterator[tuple[str, str]]:
    """Make one file of every kind that fails; yield its path and how its reason begins."""
    jpeg = encode(picture(1))
    contents = {
        "empty.jpg": (b"", "the file is empty"),
        "text.jpg": (b"Hello, I am not a picture.\n", "not an image of a known format"),
        "huge.jpg": (huge_jpeg(), "60000 × 60000 pixels is 3,600.0 megapixels; the limit is 200"),
        "huge.png": (huge_png(), "6"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "damaged JPEG"),
        "truncated.png": (encode(picture(1), "PNG")[:900], "damaged PNG: the file ends inside its chunk IDAT"),
        "large.jpg": (jpeg + bytes(2_000_000), "2001"),
        "small.jpg": (encode(picture(1, 0, 19, 64)), "the image has 19 × 64 pixels (height × width), less than"),
    }
    for name, (content, reason) in contents.items():
        (root / name).write_bytes(content)
        yield name, reason
    (root / "folder.jpg").mkdir()
    yield "folder.jpg", "not a file but a folder"
    os.mkfifo(root / "pipe.jpg")
    yield "pipe.jpg", "not a file but a named pipe"
    (root / "link.jpg").symlink_to("/etc/hostname")
    yield "link.jpg", "leads outside its root"
    yield "vanished.jpg", "no such file"
    yield "../up.jpg", "no such file"
    yield "text.jpg/x.jpg", "a part of its path is a file"


def test_every_bad_file_is_a_named_failure_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Good files between the bad ones come out as if they stood alone, and failures keep their place in the task."""
    reasons = dict(bad_files(tmp_path))
    write_images(tmp_path, ("good",), 2, suffix=".png")
    names = ["good/00000.png", *reasons, "good/00001.png"]
    task = make_task(names)
    transform = CROPPED | {"max_file_mb": 2.0}
    outcome = run(tmp_path, transform, task, patches=2)
    assert [(place, names[place], 1000 * place + 7) for place in range(1, len(names) - 1)] == [
        (failure.offset, failure.path, failure.item) for failure in outcome.failures
    ]
    for failure in outcome.failures:
        expected = reasons[failure.path]
        assert failure.reason.startswith(expected) or "megapixels" in failure.reason, failure
        assert str(tmp_path) not in failure.reason
    for place, rows in ((0, slice(0, 2)), (len(names) - 1, slice(2, 4))):
        alone = run(tmp_path, transform, make_task(names, alone=place), patches=2)
        for whole, single in zip(outcome.arrays, alone.arrays, strict=True):
            assert np.array_equal(whole[rows], single)


def test_an_item_alone_fails_at_its_place_in_the_whole_task(tmp_path: Path) -> None:
    """The sink knows only whole tasks' offsets."""
    outcome = run(tmp_path, RESIZED, make_task(["a.jpg", "b.jpg", "c.jpg"], alone=2))
    assert [(2, 2007, "c.jpg")] == [(failure.offset, failure.item, failure.path) for failure in outcome.failures]
    assert [0, 0, 0, 0] == [len(array) for array in outcome.arrays]


def test_odd_jpegs_are_samples_or_named(shared_data: Path) -> None:
    """Of the 16 damaged and unusual files two can be decoded; the others each have a reason."""
    names = sorted(f"odd/{file.name}" for file in (shared_data / "odd").iterdir())
    outcome = run(shared_data, RESIZED, make_task(names))
    assert (2, 14) == (len(outcome.arrays[0]), len(outcome.failures))
    assert all(failure.reason.startswith("damaged JPEG: ") for failure in outcome.failures)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """Whoever runs the worker, it cannot read everything."""
    write_images(tmp_path, ("cat",), 2)
    (tmp_path / "cat/00000.jpg").chmod(0)
    open_to_all(tmp_path)
    with unprivileged():
        outcome = run(tmp_path, RESIZED, make_task(["cat/00000.jpg", "cat/00001.jpg"]))
    assert ["permission denied: the worker may not read it"] == [failure.reason for failure in outcome.failures]
    assert [1007] == outcome.arrays[2].tolist()


def test_a_file_that_vanishes_between_tasks_is_named(tmp_path: Path) -> None:
    """It was listed and read once; then it is gone; then it is back."""
    write_images(tmp_path, ("cat",), 1)
    worker, task = Pipeline(make_plan(RESIZED), {"photos": tmp_path}), make_task(["cat/00000.jpg"])
    first = worker.run(task)
    (tmp_path / "cat/00000.jpg").rename(tmp_path / "away.jpg")
    assert ["no such file"] == [failure.reason.partition(" (")[0] for failure in worker.run(task).failures]
    (tmp_path / "away.jpg").rename(tmp_path / "cat/00000.jpg")
    assert digest(first.arrays) == digest(worker.run(task).arrays)


def test_a_file_that_is_rewritten_while_it_is_read_is_whole_or_named(tmp_path: Path) -> None:
    """Another process truncates and fills the file all the time: never a crash, never a sample of half a picture."""
    file, data = tmp_path / "x.jpg", encode(picture(1, 0, 300, 400), quality=95)
    file.write_bytes(data)
    worker, task = Pipeline(make_plan(RESIZED), {"photos": tmp_path}), make_task(["x.jpg"])
    whole = digest(worker.run(task).arrays)
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            file.write_bytes(data)

    thread = threading.Thread(target=rewrite)
    thread.start()
    deadline, runs, failures = time.monotonic() + DEADLINE_S, 0, 0
    try:
        while runs < 100 or not failures:
            assert time.monotonic() < deadline, f"{failures} failures in {runs} runs"
            outcome = worker.run(task)
            runs += 1
            failures += len(outcome.failures)
            assert outcome.failures or whole == digest(outcome.arrays)
    finally:
        stop.set()
        thread.join()


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


def test_a_bug_of_ours_is_not_swallowed(photos: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what files can cause becomes an item's failure: anything else must stop the worker, loudly."""
    worker, task = Pipeline(make_plan(RESIZED), {"photos": photos}), make_task(paths)
    for bug in (AttributeError("bug"), TypeError("bug"), ValueError("bug"), OSError(errno.EBADF, "bug")):

        def broken(*_: object, bug: Exception = bug) -> None:
            raise bug

        with monkeypatch.context() as patch:
            patch.setattr(worker._cutter, "cuts", broken)
            with pytest.raises(type(bug), match="bug"):
                worker.run(task)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(bad=st.sets(st.integers(0, 7)), patches=st.integers(1, 3))
def test_any_set_of_failures_leaves_the_others_rows_alone(
    photos: Path, paths: list[str], bad: set[int], patches: int
) -> None:
    """Whatever fails, what survives are the rows of the undisturbed task, in order."""
    worker = Pipeline(make_plan(CROPPED, patches), {"photos": photos})
    task = make_task(paths)
    whole = worker.run(task)
    loaded = worker.read(task)
    contents = [ItemError(f"bad {place}") if place in bad else blob for place, blob in enumerate(loaded.contents)]
    outcome = worker.make(task, replace(loaded, contents=contents))
    rows = [row for row in range(8 * patches) if row // patches not in bad]
    for expected, actual in zip(whole.arrays, outcome.arrays, strict=True):
        assert np.array_equal(expected[rows], actual)
    assert [(place, f"bad {place}") for place in sorted(bad)] == [
        (fail.offset, fail.reason) for fail in outcome.failures
    ]


def test_an_endless_reason_is_cut_to_what_a_message_carries(photos: Path, paths: list[str]) -> None:
    """A reason may quote a file; the wire takes 4,096 characters."""
    worker, task = Pipeline(make_plan(RESIZED), {"photos": photos}), make_task(paths[:1])
    outcome = worker.make(task, replace(worker.read(task), contents=[ItemError("x" * 10_000)]))
    assert ["x" * 4096] == [failure.reason for failure in outcome.failures]


def test_timings_say_where_the_time_went(photos: Path, paths: list[str]) -> None:
    """Reading is only known to `run`; all of it together is no more than what passed."""
    worker, task = Pipeline(make_plan(RESIZED), {"photos": photos}), make_task(paths)
    whole, made = worker.run(task).timings, worker.make(task, worker.read(task)).timings
    assert min(whole.read_s, whole.decode_s, whole.transform_s) > 0.0
    assert (0.0, 0.0) == (made.read_s, made.send_s)
