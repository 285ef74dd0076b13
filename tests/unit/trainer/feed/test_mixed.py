"""`MixedFeed`: the feed's own batches, each with the numbers that its position stands for."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.hdf5.feeds import COUNT, SMALL
from support.hdf5.files import write_file
from support.streams import digest

from penstock import Hdf5Feed, MixedFeed, ResumableSource, SpecError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 50 images in three classes."""
    return write_file(tmp_path_factory.mktemp("mixed") / "set.h5", COUNT)


def mixed(file: Path, **changes: Any) -> MixedFeed:
    """Return a feed of the file that mixes."""
    settings: dict[str, Any] = {"mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1} | changes
    return MixedFeed(Hdf5Feed(file, **SMALL), **settings)


def test_batches_are_those_of_the_feed_with_one_more_field(file: Path) -> None:
    """The same numbers for each sample of a batch, other ones in the next batch and the next epoch."""
    source: ResumableSource = mixed(file)
    plain = list(Hdf5Feed(file, **SMALL))
    first, second = list(source), list(source)
    assert digest(plain) == digest([{name: batch[name] for name in plain[0]} for batch in first])
    assert ["image", "label", "item", "mix"] == [field.name for field in source.schema] == list(first[0])
    rows = set()
    for batch in first + second:
        assert (len(batch["image"]), 6) == batch["mix"].shape
        assert (batch["mix"] == batch["mix"][0]).all()
        rows.add(batch["mix"][0].tobytes())
    assert len(rows) > len(first)


def test_a_resumed_run_mixes_as_if_it_had_not_stopped(file: Path) -> None:
    """From any batch on."""
    whole = list(mixed(file))
    for stop in (1, 4):
        source = mixed(file)
        batches = iter(source)
        for _ in range(stop):
            next(batches)
        state = source.state_dict()
        resumed = mixed(file)
        resumed.load_state_dict(state)
        assert digest(whole[stop:]) == digest(list(resumed))


def test_seed_and_rank_change_the_mixtures_and_nothing_else_does(file: Path) -> None:
    """Twice the same, in any order of asking."""
    source = mixed(file)
    assert np.array_equal(source.numbers(16, 0), mixed(file).numbers(16, 0))
    several: tuple[dict[str, Any], ...] = ({}, {"seed": 1})
    drawn = {
        mixed(file, **changes).numbers(stop, rank).tobytes()
        for changes in several
        for stop in (16, 24, COUNT + 16)
        for rank in (0, 1)
    }
    assert len(drawn) == 12


def test_a_dataset_is_mixed_in_a_map(file: Path) -> None:
    """tf.data calls the feed itself with a batch's fields; the numbers are numpy's."""
    pytest.importorskip("tensorflow")
    source = mixed(file)
    expected = [source(batch["image"], batch["label"], batch["mix"]) for batch in mixed(file)]
    got = list(source.dataset(("image", "label", "mix")).map(source).as_numpy_iterator())
    assert len(expected) == len(got)
    for ours, theirs in zip(expected, got, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max() <= 3e-4


def test_classes_are_the_streams_unless_there_are_more(file: Path) -> None:
    """Fewer are refused, and none."""
    assert mixed(file).classes == 3
    assert mixed(file, classes=5).classes == 5
    with pytest.raises(SpecError, match=r"classes = 2, but stream '.*' has 3"):
        _ = mixed(file, classes=2).classes
    with pytest.raises(SpecError, match=r"classes = 0: give 1 or more"):
        mixed(file, classes=0)
    with pytest.raises(SpecError, match=r"seed = -1: give 0 to"):
        mixed(file, seed=-1)


def test_fields_that_do_not_fit_are_refused(file: Path, tmp_path: Path) -> None:
    """A name of its own that is taken, and an image that is not there."""
    with pytest.raises(SpecError, match=r"image = 'photo': stream 'hdf5' has 'image' image to mix"):
        next(iter(mixed(file, image="photo")))
    path = write_file(tmp_path / "set.h5", 10)
    with h5py.File(path, "a") as content:
        content["mix"] = np.zeros(10)
        del content.attrs["classes"]
    with pytest.raises(SpecError, match="has a field 'mix' of its own"):
        next(iter(mixed(path)))
    with pytest.raises(SpecError, match=r"has no names of classes: give classes"):
        _ = mixed(path).classes
