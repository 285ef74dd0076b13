"""Batches from worker processes: those of this process to the bit, with the same errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.images import encode, picture, write_images
from support.keras.worker_flows import WILD, from_array, from_folder
from support.streams import services

from penstock import ImageDataGenerator
from penstock.protocol.errors import FailureBudgetError

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left_over")]


@pytest.mark.parametrize(
    ("flow", "workers", "shuffle", "chunk"),
    [(from_folder, 2, True, 1), (from_array, 1, False, 4)],
    ids=["files, each batch by itself", "arrays, four batches in a piece"],
)
def test_any_number_of_workers_gives_the_same_batches(
    flow: Any,
    workers: int,
    shuffle: bool,  # noqa: FBT001
    chunk: int,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit, in the same order, beyond an epoch's end; by index and after a reset, too.

    An epoch has six batches, so that pieces of four do not divide it.
    """
    monkeypatch.setattr("penstock.image_data_generator.workers._CHUNK_BYTES", chunk * 8 * 30 * 34 * 3)
    with flow(photos, 0, shuffle=shuffle) as here, flow(photos, workers, shuffle=shuffle) as there:
        assert 6 == len(here)
        assert [0, workers] == [here.worker_processes, there.worker_processes]
        for turn in range(len(here) + 2):
            same([next(here), next(there)], f"turn {turn}")
        for index in (4, 1):
            same([here[index], there[index]], f"index {index}")
        here.reset()
        there.reset()
        same([next(here), next(there)], "after a reset")


def same(batches: list[Any], when: str) -> None:
    """Assert that all batches are equal to the bit."""
    for images, labels in batches[1:]:
        assert np.array_equal(batches[0][0], images), when
        assert np.array_equal(batches[0][1], labels), when


def test_one_small_picture_does_not_drown_the_stack() -> None:
    """An epoch of one task: the memory for images made ahead must not be filled with a million epochs of it."""
    image = picture(1, 0, 8, 8)[np.newaxis]
    with (
        ImageDataGenerator(rotation_range=40).flow(image, seed=1, workers=1) as there,
        ImageDataGenerator(rotation_range=40).flow(image, seed=1, workers=0) as here,
    ):
        for _ in range(300):
            assert np.array_equal(next(here), next(there))
        memory = [process.memory_info().rss for process in services()]
    assert max(memory) < 300e6


def test_pictures_and_masks_stay_in_step_from_worker_to_worker(tmp_path: Path) -> None:
    """Two folders, one seed: turned, zoomed and mirrored alike, though only the pictures are darkened."""
    for name in ("pictures", "masks"):
        write_images(tmp_path / name, ("all",), 12, suffix=".png")
    geometry = {name: WILD[name] for name in ("rotation_range", "zoom_range", "width_shift_range", "horizontal_flip")}
    options: dict[str, Any] = {"class_mode": None, "target_size": (48, 64), "batch_size": 5, "seed": 4}
    dark, plain = ImageDataGenerator(**geometry, brightness_range=(0.5, 0.5)), ImageDataGenerator(**geometry)
    with (
        dark.flow_from_directory(tmp_path / "pictures", **options, workers=2) as pictures,
        plain.flow_from_directory(tmp_path / "masks", **options, workers=0) as masks,
    ):
        for _ in range(5):
            assert np.array_equal(next(masks) // 2, next(pictures))


def test_a_picture_that_cannot_be_read_ends_the_run_and_is_named(tmp_path: Path) -> None:
    """In the same words from a worker as from this process."""
    write_images(tmp_path, ("cat",), 6)
    (tmp_path / "cat" / "00003.jpg").write_bytes(b"\xff\xd8 no picture")
    said = []
    for workers in (0, 1):
        generator = ImageDataGenerator(**WILD)
        with (
            generator.flow_from_directory(tmp_path, (16, 16), batch_size=6, workers=workers) as iterator,
            pytest.raises(FailureBudgetError, match=f"^{tmp_path}/cat/00003.jpg: .*Repair the file") as caught,
        ):
            next(iterator)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_odd_names_come_from_workers_too(tmp_path: Path) -> None:
    """What cannot be printed, such as the narrow space in the names of macOS's screenshots, and what CSV quotes."""
    names = ["9.41.00\u202fAM", "no\u00a0break", "zero\u200bwidth", "tab\tand\nlines\r\n", '"a", b']
    (tmp_path / "a").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "a" / f"{name}.png").write_bytes(encode(picture(number), "PNG"))
    options: dict[str, Any] = {"target_size": (24, 32), "seed": 1}
    generator = ImageDataGenerator(**WILD)
    with generator.flow_from_directory(tmp_path, **options, workers=1) as there:
        same([next(generator.flow_from_directory(tmp_path, **options, workers=0)), next(there)], "odd names")
