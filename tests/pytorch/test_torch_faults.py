"""What a PyTorch training must not notice: killed services, ranks that become fewer, and a hundred thousand batches."""

import importlib
import random
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from support.streams import make_spec, make_stream, run_stack, until

import penstock
from penstock.launcher.stack import LocalStack
from penstock.launcher.supervisor import Child

pytestmark = [pytest.mark.integration, pytest.mark.torch]

torch: Any = importlib.import_module("torch")

#: Batches of the long test, and how many until memory has become what it stays.
MANY, WARM = 100_000, 5_000


def losses(batches: Any) -> Iterator[float]:
    """Train a small network; yield each step's loss."""
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(192, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for batch in batches:
        loss = torch.nn.functional.cross_entropy(model(batch["image"].float() / 255), batch["label"].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def two_epochs(loader: Any) -> Iterator[Any]:
    """Yield the batches of two epochs."""
    for _ in range(2):
        yield from loader


def runs_again(child: Child) -> bool:
    """Return whether a part that was killed has a successor."""
    return child.restarts > 0 and child.process.poll() is None


@pytest.mark.chaos
def test_killed_services_change_no_loss(photos: Path) -> None:
    """Ventilator, sink and worker, each by kill -9 in mid-epoch, with batches on their way to a device."""
    small_window = make_stream(batch_size=4, patches=1)
    with run_stack(make_spec(photos, train=small_window), workers=2) as stack:
        expected = list(losses(two_epochs(stack.feed("train").torch())))
        got = losses(two_epochs(stack.feed("train").torch()))
        found: list[float] = []
        for part in ("ventilator", "worker-0", "sink"):
            found += islice(got, 9)
            child = stack.children[part]
            child.process.kill()
            until(partial(runs_again, child), f"{part} to run again")
        found += got
    assert len(expected) > 3 * 9
    assert expected == found


def test_another_world_size_goes_on_from_one_position(stack: LocalStack) -> None:
    """Two ranks train the first half of an epoch, one the rest: each item once, whichever rank's state is loaded."""
    seen: list[int] = []
    states = []
    feeds = [penstock.connect(stack.address, "full", rank=rank, world_size=2) for rank in range(2)]
    ranks = [feed.torch() for feed in feeds]
    for batches in zip(*(islice(loader, 3) for loader in ranks), strict=True):
        seen += [int(item) for batch in batches for item in batch["item"]]
    for loader, feed in zip(ranks, feeds, strict=True):
        states.append(loader.state_dict())
        feed.close()
    for state in states:
        with penstock.connect(stack.address, "full") as feed:
            alone = feed.torch()
            alone.load_state_dict(state)
            rest = [int(item) for batch in alone for item in batch["item"]]
        assert len(seen) == 2 * 3 * 8
        assert len(seen + rest) == len(set(seen + rest)) == 119 // 8 * 8


def test_losses_go_on_at_another_world_size(stack: LocalStack) -> None:
    """To the last bit: two ranks share the first steps of an epoch, and one goes on, with two batches a step."""

    def connect(rank: int | None = None, world_size: int | None = None) -> Any:
        return penstock.connect(stack.address, "full", rank=rank, world_size=world_size).torch()

    def steps(*loaders: Any) -> Iterator[dict[str, Any]]:
        """Yield what all ranks together take a step: the gradients' mean over ranks is that over all samples."""
        for batches in zip(*(iter(loader) for loader in loaders), strict=True):
            joined = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
            order = joined["item"].argsort()
            yield {name: values[order] for name, values in joined.items()}

    def in_twos(loader: Any) -> Iterator[dict[str, Any]]:
        batches = iter(loader)
        return steps(batches, batches)

    whole = connect()
    expected = list(losses(in_twos(whole)))
    ranks = [connect(rank=rank, world_size=2) for rank in range(2)]
    shared = list(islice(steps(*ranks), 3))
    alone = connect()
    alone.load_state_dict(ranks[1].state_dict())
    got = list(losses([*shared, *in_twos(alone)]))
    for loader in (whole, *ranks, alone):
        loader.feed.close()
    assert 7 == len(expected)
    assert expected == got


@pytest.mark.long
def test_memory_stays_flat_and_no_batch_is_torn() -> None:
    """Tensors that are kept for a while, at random, hold what they held; the process grows by less than 24 MB."""
    images = np.random.default_rng(1).integers(0, 256, (4096, 16, 16, 3), np.uint8)
    source = {"kind": "arrays", "images": images}
    stream = {"source": source, "transform": {"resize": [16, 16]}, "batch_size": 32}
    rng, kept = random.Random(1), deque[Any](maxlen=64)
    reference, process, before = torch.from_numpy(images), psutil.Process(), 0
    with run_stack({"seed": 1, "streams": {"train": stream}}, workers=1) as stack:
        loader = stack.feed("train").torch()
        count = 0
        while count < MANY:
            for batch in loader:
                count += 1
                if rng.random() < 0.1:
                    kept.append(batch)
                if count % 50 == 0 and kept:
                    old = rng.choice(kept)
                    assert torch.equal(reference[old["item"].long()], old["image"].permute(0, 2, 3, 1))
                if count == WARM:
                    before = process.memory_info().rss
        grown = process.memory_info().rss - before
    assert grown < 24e6, f"{grown / 1e6:.1f} MB more after {count} batches"
