"""Several sinks share a stream: all ranks together get the samples of one sink and one trainer, in the same order.

Real processes, with items among them that fail; sinks are killed, stopped and replaced while trainers read.
"""

import hashlib
import signal
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import OPTIONS, make_images, make_spec, make_stream, take, until
from support.written import opened

import penstock
from penstock.launcher.stack import LocalStack
from penstock.protocol.snapshot import Snapshot
from penstock.trainer.client.feed import Feed

pytestmark = pytest.mark.integration

#: Sinks and ranks.
SHAPES = [(1, 1), (1, 4), (4, 4), (2, 8)]
#: No process is lost, and nothing made twice, because it was slow.
PATIENT: Mapping[str, Mapping[str, Any]] = {
    "ventilator": {"silence_s": 600.0, "confirm_s": 600.0, "hedge_s": 600.0},
    "sink": {"silence_s": 600.0},
    "worker": {"silence_s": 600.0},
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return a spec over 60 files, of which four are no images; patches of several images are mixed."""
    root = make_images(tmp_path_factory.mktemp("photos"), each=30)
    for number in (0, 7, 8, 29):
        (root / "cat" / f"{number:04}.jpg").write_bytes(b"no image")
    return make_spec(root, train=make_stream(failure_budget=1.0))


@pytest.fixture(scope="module")
def small(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the same in small batches: an epoch has six rounds of eight ranks, so that much happens in its middle."""
    [(name, stream)] = spec["streams"].items()
    return spec | {"streams": {name: stream | {"batch_size": 4}}}


def samples(batches: Iterable[dict[str, np.ndarray[Any, Any]]]) -> list[str]:
    """Return a digest of each sample."""
    found = []
    for batch in batches:
        for row in range(len(batch["label"])):
            sha = hashlib.sha256()
            for name in sorted(batch):
                sha.update(np.ascontiguousarray(batch[name][row]).tobytes())
            found.append(sha.hexdigest()[:16])
    return found


def rounds(feeds: Sequence[Feed], epochs: int) -> Iterator[list[str]]:
    """Yield the samples of each round, by rank; all ranks must have equally many batches of each epoch."""
    for _ in range(epochs):
        for batches in zip(*feeds, strict=True):
            yield samples(batches)


@contextmanager
def started(
    spec: dict[str, Any], sinks: int, ranks: int = 1, options: Mapping[str, Mapping[str, Any]] = OPTIONS
) -> Generator[tuple[LocalStack, list[Feed]]]:
    """Run a stack of two workers and so many sinks; yield it with a feed for each rank."""
    with ExitStack() as entered:
        stack = entered.enter_context(
            LocalStack(spec, workers=2, sinks=sinks, options={name: dict(each) for name, each in options.items()})
        )
        yield stack, [entered.enter_context(stack.feed(rank=rank, world_size=ranks)) for rank in range(ranks)]


@pytest.fixture(scope="module")
def reference(spec: dict[str, Any]) -> list[list[str]]:
    """Return the samples of three epochs of one sink and one trainer, by epoch."""
    with started(spec, 1) as (_, [feed]):
        return [samples(feed) for _ in range(3)]


def kill(stack: LocalStack, name: str, number: int = signal.SIGKILL) -> None:
    """End a process, once it runs again after an earlier end; the supervisor starts another one in its place."""
    until(lambda: stack.children[name].process.poll() is None, f"{name} to run")
    stack.children[name].process.send_signal(number)


def test_a_killed_sink_costs_no_sample(spec: dict[str, Any], reference: list[list[str]]) -> None:
    """Two sinks, four ranks: one sink dies in the middle of an epoch, its successor goes on where its trainers are."""
    got: list[str] = []
    with started(spec, 2, 4) as (stack, feeds):
        for number, each in enumerate(rounds(feeds, 2)):
            got += each
            if number == 1:
                kill(stack, "sink-1")

        def all_are_there() -> bool:
            """Return whether both sinks have said who reads from them: a busy one may be lost for a moment."""
            seen = stack.snapshot()
            sinks = [(row.name, row.trainers) for row in seen.sinks]
            return [("sink-0", 2), ("sink-1", 2)] == sinks and 4 == len(seen.trainers)

        until(all_are_there, "both sinks to tell of their trainers")
        assert 1 == stack.children["sink-1"].restarts
    assert reference[0] + reference[1] == got


def test_samples_go_only_to_the_sink_whose_ranks_train_on_them(spec: dict[str, Any]) -> None:
    """Both sinks together take what is trained on, and what is ahead of the trainers; not twice as much.

    None is lost, however busy the machine is: what a lost one had would be made again.
    """
    with started(spec, 2, 2, PATIENT) as (stack, feeds):
        sent = sum(len(each) for each in rounds(feeds, 3))

        def all_told() -> Snapshot | None:
            """Return what both sinks tell once they have told of all that they sent."""
            seen = stack.snapshot()
            told = sum(row.sink.samples for row in seen.streams if row.sink)
            return seen if 2 == len(seen.sinks) and sent <= told else None

        seen = until(all_told, "the sinks to tell what they sent")
        assert seen
        rows, window = seen.sinks, max(row.sink.window for row in seen.streams if row.sink)
    sample_bytes = sum(row.sent_bytes for row in rows) / sent
    # Where a failure moves the boundary of a batch, some samples are with another sink than before.
    assert sum(row.bytes for row in rows) <= (1.1 * sent + window) * sample_bytes
    assert all(row.bytes for row in rows)


def test_one_position_resumes_at_another_number_of_sinks(spec: dict[str, Any], reference: list[list[str]]) -> None:
    """A rank's state at two sinks is where a single trainer of one sink goes on."""
    with started(spec, 2, 4) as (_, feeds):
        got = [sample for _, each in zip(range(2), rounds(feeds, 1), strict=False) for sample in each]
        state = feeds[3].state_dict()
    with started(spec, 1) as (_, [feed]):
        feed.load_state_dict(state)
        assert reference[0] == got + samples(feed)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_any_number_of_sinks_delivers_the_same_samples(
    small: dict[str, Any], reference: list[list[str]], shape: tuple[int, int]
) -> None:
    """In the same order over all ranks, through three epochs with failures, and with kills of every sink."""
    got: list[str] = []
    with started(small, *shape) as (stack, feeds):
        victims = [name for name in stack.children if name.startswith("sink")] * 2
        for number, each in enumerate(rounds(feeds, 3)):
            got += each
            if victims and number % 2:
                kill(stack, victims.pop())
    assert not victims, "each was killed twice"
    assert [sample for epoch in reference for sample in epoch] == got


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [each for each in product(SHAPES, SHAPES) if each[0] != each[1]], ids=str)
def test_any_number_of_sinks_resumes_any_other(
    small: dict[str, Any], reference: list[list[str]], before: tuple[int, int], after: tuple[int, int]
) -> None:
    """Every rank's state is the same, and the position of one is where all ranks of another job go on.

    In the first epoch or in the second one; after a kill of a sink, and with one after the resumption, or without.
    """
    turn = SHAPES.index(before) + SHAPES.index(after)
    second, kills = turn % 2 == 0, turn % 3 == 0
    got: list[str] = []
    with started(small, *before) as (stack, feeds):
        seen = rounds(feeds, 2)
        while len(got) <= second * len(reference[0]):
            got += next(seen)
        if kills:
            kill(stack, _a_sink(stack))
        got += next(seen)
        states = [feed.state_dict() for feed in feeds]
    assert [states[0]] * len(states) == states
    with started(small, *after) as (stack, feeds):
        for feed in feeds:
            feed.load_state_dict(states[0])
        for number, each in enumerate(rounds(feeds, 2 - second)):
            got += each
            if kills and number == 0:
                kill(stack, _a_sink(stack))
    assert reference[0] + reference[1] == got


def _a_sink(stack: LocalStack) -> str:
    return max(name for name in stack.children if name.startswith("sink"))


@pytest.mark.slow
def test_a_sink_that_does_not_come_back_keeps_nothing_from_the_others(
    spec: dict[str, Any], reference: list[list[str]]
) -> None:
    """It is asked to leave; the other sink's ranks train on. Once it is back, so do its own, without a gap."""
    got: list[list[list[str]]] = [[], [], [], []]
    with started(spec, 2, 4) as (stack, feeds):
        for mine, feed in zip(got, feeds, strict=True):
            mine += [samples([batch]) for batch in take(feed, 1)]
        assert stack._supervisor is not None
        assert stack._run is not None
        stack._supervisor.remove("sink-1")
        for mine, feed in zip(got[:2], feeds[:2], strict=True):
            mine += [samples([batch]) for batch in take(feed, 6)]
        stack._run.add("sink-1")
        for mine, feed in zip(got[2:], feeds[2:], strict=True):
            mine += [samples([batch]) for batch in take(feed, 6)]
    merged = [sample for each in zip(*got, strict=True) for batch in each for sample in batch]
    assert [sample for epoch in reference for sample in epoch][: len(merged)] == merged


@pytest.mark.slow
def test_a_trainer_may_read_from_any_sink(spec: dict[str, Any], reference: list[list[str]]) -> None:
    """The sinks' names choose nothing: a rank that is told another node's sink gets its own batches there."""
    with started(spec, 2) as (stack, _), ExitStack() as entered:
        addresses = [stack.addresses.of_sink(number).trainers for number in (1, 0, 0, 1)]
        feeds = [
            entered.enter_context(penstock.connect(address, rank=rank, world_size=4))
            for rank, address in enumerate(addresses)
        ]
        got = [sample for each in rounds(feeds, 1) for sample in each]
    assert reference[0] == got


@pytest.mark.slow
def test_every_process_may_die(small: dict[str, Any], reference: list[list[str]]) -> None:
    """Sinks, workers and the ventilator are killed or stopped in turn: all ranks get every sample once."""
    names = ["sink-0", "worker-0", "ventilator", "sink-1", "worker-1", "sink-0"]
    got: list[str] = []
    with started(small, 2, 4) as (stack, feeds):
        for number, each in enumerate(rounds(feeds, 3)):
            got += each
            if names and number % 3 == 1:
                kill(stack, names.pop(0), signal.SIGTERM if number % 2 else signal.SIGKILL)
    assert not names
    assert [sample for epoch in reference for sample in epoch] == got


@pytest.mark.slow
def test_one_of_several_sinks_records_all_samples(
    spec: dict[str, Any], reference: list[list[str]], tmp_path: Path
) -> None:
    """While its own rank and another sink's train on half of them each: the file holds the epoch of one sink."""
    output = tmp_path / "patches.h5"
    options = {name: dict(each) for name, each in OPTIONS.items()}
    options["sink-1"] = {"writer": "hdf5", "output": str(output)}
    with LocalStack(spec, workers=2, sinks=2, options=options) as stack:
        feeds = [stack.feed(rank=rank, world_size=2) for rank in range(2)]
        got = [sample for each in rounds(feeds, 1) for sample in each]
        until(lambda: (stack.status()["sink-1"].get("writer") or {}).get("state") == "finished", "the file")
    assert reference[0] == got
    with opened(output) as file:
        images, labels = file["image"][:], file["label"][:]
    assert len(reference[0]) == len(images) == len(labels)
    with started(spec, 1) as (_, [feed]):
        made = list(feed)
    np.testing.assert_array_equal(np.concatenate([batch["image"] for batch in made]), images)
