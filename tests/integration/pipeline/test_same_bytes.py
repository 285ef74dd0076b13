"""A stream is a pure function of spec and position: the same bytes at any number of workers, over any transport."""

from pathlib import Path

import numpy as np
import pytest
from support.streams import Batch, digest, epochs, make_images, make_manifest, make_spec, make_stream, run_stack, take

from penstock.launcher.stack import Addresses

pytestmark = pytest.mark.integration

PATCHED = make_stream()
FROM_MANIFEST = make_stream(source={"kind": "manifest", "root": "photos", "path": "manifest.csv"})
RESIZED = make_stream(
    transform={"resize": {"height": 24, "width": 24}, "color": "gray"},
    patches=1,
    mix=1,
    batch_size=7,
    drop_remainder=True,
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 2 × 30 JPEG files and a manifest of them."""
    folder = make_images(tmp_path_factory.mktemp("photos"), each=30)
    make_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def spec(photos: Path) -> dict[str, object]:
    """Return a spec of three streams."""
    return make_spec(photos, train=PATCHED, manifest=FROM_MANIFEST, validation=RESIZED)


@pytest.fixture(scope="module")
def reference(spec: dict[str, object]) -> dict[str, list[Batch]]:
    """Return two epochs of each stream, made by one worker."""
    with run_stack(spec, workers=1) as stack:
        return {name: epochs(stack.feed(name), 2) for name in ("train", "manifest", "validation")}


def test_the_reference_is_what_the_spec_asks_for(reference: dict[str, list[Batch]]) -> None:
    """Every item and patch stands in each epoch exactly once, epochs differ, and no two samples share their pixels."""
    train = reference["train"]
    assert 24 == len(train)
    first, second = (
        {
            (int(item), int(patch)): image.tobytes()
            for batch in part
            for item, patch, image in zip(batch["item"], batch["patch"], batch["image"], strict=True)
        }
        for part in (train[:12], train[12:])
    )
    assert {(item, patch) for item in range(60) for patch in range(3)} == set(first) == set(second)
    assert 360 == len(set(first.values()) | set(second.values()))
    assert digest(train[:12]) != digest(train[12:])
    assert (16, 32, 40, 3) == train[0]["image"].shape
    assert [7] * 16 == [len(batch["label"]) for batch in reference["validation"]]
    assert 60 == len({int(item) for batch in reference["manifest"][:12] for item in batch["item"]})


@pytest.mark.parametrize("workers", [2, 5])
def test_any_number_of_workers_gives_the_same_bytes(
    workers: int, spec: dict[str, object], reference: dict[str, list[Batch]]
) -> None:
    """Two epochs of every stream, validation after each training epoch as a training loop reads them."""
    with run_stack(spec, workers=workers) as stack:
        feeds = {name: stack.feed(name) for name in reference}
        got: dict[str, list[Batch]] = {name: [] for name in feeds}
        for _ in range(2):
            for name, feed in feeds.items():
                got[name] += epochs(feed, 1)
    for name, batches in reference.items():
        assert digest(batches) == digest(got[name]), name


def test_tcp_gives_the_same_bytes_as_unix_sockets(
    spec: dict[str, object], reference: dict[str, list[Batch]], free_ports: list[int]
) -> None:
    """The transport makes no difference."""
    addresses = Addresses(*(f"tcp://127.0.0.1:{port}" for port in free_ports))
    with run_stack(spec, workers=2, addresses=addresses) as stack:
        assert digest(reference["train"]) == digest(epochs(stack.feed("train"), 2))


def test_a_validation_stream_runs_beside_training(spec: dict[str, object], reference: dict[str, list[Batch]]) -> None:
    """A stream that is read in the midst of another's epoch disturbs neither."""
    with run_stack(spec, workers=2) as stack:
        train, validation = stack.feed("train"), stack.feed("validation")
        got = take(train, 5)
        checked = epochs(validation, 1)
        got += take(train, 19)
        checked += epochs(validation, 1)
    assert digest(reference["train"]) == digest(got)
    assert digest(reference["validation"]) == digest(checked)


def test_two_ranks_share_each_round(spec: dict[str, object], reference: dict[str, list[Batch]]) -> None:
    """Rank 0 and rank 1 take alternate batches of what one trainer would get, the short last round evenly."""
    with run_stack(spec, workers=2) as stack:
        feeds = [stack.feed("train", rank=rank, world_size=2) for rank in range(2)]
        got = [epochs(feed, 1) for feed in feeds]
    assert [6, 6] == [len(batches) for batches in got]
    woven = [batch for pair in zip(*got, strict=True) for batch in pair]
    assert digest(reference["train"][:10]) == digest(woven[:10])
    rest = reference["train"][10:12]
    last = {name: np.concatenate([batch[name] for batch in rest]) for name in rest[0]}
    shared = {name: np.concatenate([batch[name] for batch in woven[10:]]) for name in last}
    assert digest([last]) == digest([shared])


def test_two_trainers_read_a_stream_independently(spec: dict[str, object], reference: dict[str, list[Batch]]) -> None:
    """Each gets all of it, at its own pace and from its own position."""
    with run_stack(spec, workers=2) as stack:
        one, other = stack.feed("train"), stack.feed("train")
        first = take(one, 3)
        second = take(other, 14)
        first += take(one, 21)
        second += take(other, 10)
    assert digest(reference["train"]) == digest(first)
    assert digest(reference["train"]) == digest(second)


def test_a_saved_position_resumes_with_exactly_the_rest(
    spec: dict[str, object], reference: dict[str, list[Batch]]
) -> None:
    """Mid-epoch, in another stack, with another number of workers, to the very next batch."""
    with run_stack(spec, workers=3) as stack:
        feed = stack.feed("train")
        before = take(feed, 7)
        state = feed.state_dict()
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed("train")
        feed.load_state_dict(state)
        rest = epochs(feed, 2)
    assert digest(reference["train"]) == digest(before + rest)


def test_seeking_backwards_repeats_the_same_bytes(spec: dict[str, object], reference: dict[str, list[Batch]]) -> None:
    """A position that was passed long ago is as good as any other."""
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed("train")
        take(feed, 4)
        state = feed.state_dict()
        take(feed, 15)
        feed.load_state_dict(state)
        assert digest(reference["train"][4:12]) == digest(epochs(feed, 1))
        feed.seek(0)
        assert digest(reference["train"]) == digest(epochs(feed, 2))


def test_workers_that_come_and_go_change_nothing(spec: dict[str, object], reference: dict[str, list[Batch]]) -> None:
    """The stack is scaled from one worker to four and down to two while an epoch runs."""
    with run_stack(spec, workers=1) as stack:
        feed = stack.feed("train")
        got = take(feed, 4)
        stack.scale(4)
        got += take(feed, 8)
        stack.scale(2)
        got += take(feed, 12)
    assert digest(reference["train"]) == digest(got)
