"""The pipeline meets bad files: each is a named failure at its place, and the other rows are as without it."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.images import encode, huge_jpeg, huge_png, open_to_all, picture, unprivileged, write_images
from support.imaging.pipelines import CROPPED, RESIZED, digest, make_plan, make_task, run
from support.streams import DEADLINE_S

from penstock.protocol.errors import ItemError
from penstock.worker.imaging.pipeline import Pipeline


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


def test_a_bug_of_ours_is_not_swallowed(photos: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what files can cause becomes an item's failure: anything else must stop the worker, loudly."""
    worker, task = Pipeline(make_plan(RESIZED), {"photos": photos}), make_task(paths)
    for bug in (AttributeError("bug"), TypeError("bug"), ValueError("bug"), OSError(errno.EBADF, "bug")):

        def broken(*_: object, bug: Exception = bug) -> None:
            raise bug

        with monkeypatch.context() as patch:
            patch.setattr(worker._maker, "write", broken)
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
