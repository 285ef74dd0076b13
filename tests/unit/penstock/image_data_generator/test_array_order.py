"""`flow`: batches, epochs, order and seeds, and what travels with the images."""

from pathlib import Path
from typing import Any

import numpy as np
from support.keras.flows import IMAGES, LABELS, RNG, WILD, flow

from penstock import ImageDataGenerator


def test_batches_go_on_for_ever_and_cover_each_epoch_once() -> None:
    """Ten samples in batches of four: three batches an epoch, the last of two; every epoch in another order."""
    iterator = flow()
    assert 3 == len(iterator)
    labels = [next(iterator)[1] for _ in range(9)]
    assert [4, 4, 2] * 3 == [len(batch) for batch in labels]
    epochs = [np.concatenate(labels[start : start + 3]) for start in (0, 3, 6)]
    assert all(np.array_equal(LABELS, np.sort(epoch)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert 9 == iterator.total_batches_seen


def test_images_stay_with_their_labels_weights_and_other_inputs() -> None:
    """All that is given is cut in the same order, whatever its shape and type."""
    names = np.array([f"picture {index}" for index in range(10)])
    more = RNG.normal(size=(10, 2, 2))
    iterator = flow((IMAGES, [names, more]), y=more[:, 0], sample_weight=LABELS / 10.0)
    for _ in range(4):
        (images, name, other), y, weights = next(iterator)
        for row, image in enumerate(images):
            item = int(name[row].removeprefix("picture "))
            assert np.array_equal(IMAGES[item], image)
            assert np.array_equal(more[item], other[row])
            assert np.array_equal(more[item, 0], y[row])
            assert item / 10.0 == weights[row]


def test_without_labels_a_batch_is_the_images_alone() -> None:
    """As in Keras, weights without labels are left out."""
    batch = next(flow(y=None, sample_weight=LABELS))
    assert (4, 12, 14, 3) == batch.shape
    assert np.float32 == batch.dtype


def test_without_shuffling_the_order_is_the_array_s() -> None:
    """Every epoch alike."""
    iterator = flow(shuffle=False)
    for _ in range(2):
        assert [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] == [label for _ in range(3) for label in next(iterator)[1]]


def test_a_seed_repeats_the_run_and_numpy_s_global_seed_does_too() -> None:
    """Order and changes follow from `seed`; without one, from the global generator that scripts seed."""

    def run(**arguments: Any) -> Any:
        iterator = flow(arguments=WILD, **arguments)
        return np.concatenate([next(iterator)[0] for _ in range(6)])

    assert np.array_equal(run(seed=3), run(seed=3))
    assert not np.array_equal(run(seed=3), run(seed=4))
    np.random.seed(1)  # noqa: NPY002 - what scripts for Keras do
    first = run(seed=None)
    assert not np.array_equal(first, run(seed=None))
    np.random.seed(1)  # noqa: NPY002
    assert np.array_equal(first, run(seed=None))


def test_an_epoch_changes_images_in_another_way() -> None:
    """The same sample is drawn for anew in each epoch."""
    iterator = flow(shuffle=False, arguments=WILD)
    first = [next(iterator)[0] for _ in range(3)]
    assert not np.array_equal(first[0], next(iterator)[0])


def test_indexing_gives_the_batches_of_the_current_epoch() -> None:
    """What `next` gives, in any order and again; `on_epoch_end` begins a new epoch."""
    iterator, other = flow(arguments=WILD), flow(arguments=WILD)
    expected = [next(other) for _ in range(6)]
    for index in (2, 0, 1, 0, -1):
        assert np.array_equal(expected[index % 3][0], iterator[index][0])
        assert np.array_equal(expected[index % 3][1], iterator[index][1])
    iterator.on_epoch_end()
    assert np.array_equal(expected[4][0], iterator[1][0])


def test_reset_begins_a_new_epoch_at_its_first_batch() -> None:
    """`batch_index` says which batch is next; without shuffling, the order begins again."""
    iterator = flow(shuffle=False)
    next(iterator)
    assert 1 == iterator.batch_index
    iterator.reset()
    assert 0 == iterator.batch_index
    assert [0, 1, 2, 3] == next(iterator)[1].tolist()


def test_an_iterator_has_keras_s_attributes(tmp_path: Path) -> None:
    """Where pictures are saved, and the lock that scripts hold while they take the samples of the next batch."""
    iterator = flow(save_to_dir=tmp_path, save_prefix="try", save_format="jpeg")
    assert (tmp_path, "try", "jpeg") == (iterator.save_to_dir, iterator.save_prefix, iterator.save_format)
    assert (None, "", "png") == (flow().save_to_dir, flow().save_prefix, flow().save_format)
    with iterator.lock:
        assert 4 == len(next(iterator.index_generator))
    assert "jpg" in iterator.white_list_formats


def test_the_index_array_is_the_order_of_the_epoch() -> None:
    """Scripts read it to find out which samples a batch holds."""
    iterator = flow()
    order = iterator.index_array
    assert np.array_equal(order[:4], next(iterator)[1])
    assert np.array_equal(LABELS, np.sort(order))


def test_the_names_of_keras_2_are_there() -> None:
    """`iterator.next()`, and `index_generator`, from which scripts take the samples of the next batch."""
    iterator, expected = flow(), flow()
    assert np.array_equal(next(expected)[1], iterator.next()[1])
    assert np.array_equal(next(expected)[1], next(iterator.index_generator))
    assert np.array_equal(next(expected)[1], iterator.next()[1])
    assert 3 == iterator.total_batches_seen


def test_two_iterators_with_one_seed_stay_in_step() -> None:
    """Images and masks: the same order and the same geometry, though only the images change their levels.

    The masks are given as floats, the images as bytes.
    """
    masks = (IMAGES[..., :1] > 127).astype(np.float32)
    bright = ImageDataGenerator(**WILD, brightness_range=(0.9, 0.9), fill_mode="constant")
    plain = ImageDataGenerator(**WILD, fill_mode="constant")
    spread = np.repeat(masks, 3, axis=3)
    images = bright.flow((spread * 255).astype(np.uint8), LABELS, batch_size=4, seed=6)
    pairs = zip(images, plain.flow(masks, LABELS, batch_size=4, seed=6), strict=True)
    for _ in range(6):
        (image, one), (mask, other) = next(pairs)
        assert np.array_equal(one, other)
        assert np.abs(image / 255 / 0.9 - mask).max() < 0.02


def test_a_subset_is_the_first_or_the_last_part() -> None:
    """`validation` is the first fraction of the array, `training` the rest."""
    validation, training = (
        flow(shuffle=False, subset=subset, arguments={"validation_split": 0.3}, ignore_class_split=True, batch_size=10)
        for subset in ("validation", "training")
    )
    assert [0, 1, 2] == next(validation)[1].tolist()
    assert [3, 4, 5, 6, 7, 8, 9] == next(training)[1].tolist()
    assert (3, 7) == (validation.n, training.samples)
