"""Batches as PyTorch tensors: same memory, same order, and a state that means what the training step got."""

import importlib
import os
import pickle
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import digest, make_spec, make_stream, run_stack

from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import SpecError

pytestmark = [pytest.mark.integration, pytest.mark.torch]

torch: Any = importlib.import_module("torch")

TRAINER = Path(__file__).parent / "programs" / "ranks.py"


def numbers(batch: dict[str, Any]) -> list[int]:
    """Return what tells a batch."""
    found: list[int] = batch["item"].tolist()
    return found


def test_tensors_hold_the_batches_of_the_feed(stack: LocalStack) -> None:
    """All fields with their dtypes; images channels first, in memory as they were received."""
    expected = list(stack.feed("train"))
    got = list(stack.feed("train").torch())
    assert digest(expected) == digest(
        {name: (t.permute(0, 2, 3, 1) if name == "image" else t).numpy() for name, t in batch.items()} for batch in got
    )
    image = got[0]["image"]
    assert (torch.uint8, 3) == (image.dtype, image.shape[1])
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_tensors_share_the_batch_and_belong_to_the_program(stack: LocalStack) -> None:
    """Kept tensors are never written to again by later batches, and writing to them harms nothing."""
    kept = [(batch["image"], batch["image"].clone()) for _ in range(3) for batch in stack.feed("train").torch()]
    assert all(torch.equal(image, copy) for image, copy in kept)
    feed = stack.feed("train")
    array = next(iter(feed))["image"]
    feed.seek(0)
    image = next(iter(feed.torch()))["image"]
    image.zero_()
    assert array.any()


def test_tensors_of_a_feed_without_copies_may_be_written_to(tmp_path: Path) -> None:
    """Arrays in the workers' memory are read-only, and tensors cannot be: they get memory of their own."""
    np.save(tmp_path / "images.npy", np.random.default_rng(3).integers(0, 256, (256, 16, 16, 3), np.uint8))
    transform = {"resize": {"height": 16, "width": 16}, "normalize": {"rescale": 1 / 255, "where": "worker"}}
    source = {"kind": "arrays", "root": "here", "images": "images.npy"}
    stream = {"source": source, "transform": transform, "batch_size": 32, "task_items": 32}
    spec = {"seed": 1, "roots": {"here": str(tmp_path)}, "streams": {"train": stream}}
    with run_stack(spec, workers=1) as stack:
        feed, lent = stack.feed("train"), stack.feed("train", copy=False)
        kept = []
        for _ in range(4):
            for expected, batch in zip(feed, lent.torch(), strict=True):
                image = batch["image"]
                assert torch.equal(torch.from_numpy(expected["image"]).permute(0, 3, 1, 2), image)
                kept.append(image.zero_())
        assert 32 == len(kept)
        assert not any(image.any() for image in kept)


@pytest.mark.parametrize(("channels_last", "layout"), [(True, "channels_last"), (False, "contiguous_format")])
def test_the_memory_format_can_be_chosen(*, stack: LocalStack, channels_last: bool, layout: str) -> None:
    """As tuples of the fields that were asked for, in that order."""
    label, image = next(iter(stack.feed("train").torch(channels_last=channels_last, fields=("label", "image"))))
    assert torch.int32 == label.dtype
    assert image.is_contiguous(memory_format=getattr(torch, layout))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_state_is_what_the_step_got(stack: LocalStack, device: str) -> None:
    """Whatever is ahead ("meta" stands for a device that batches are copied to): the very next batch follows."""
    expected = [numbers(batch) for batch in stack.feed("train")]
    loader = stack.feed("train").torch(device, prefetch_to_device=4)
    list(islice(loader, 5))
    state = loader.state_dict()
    again = stack.feed("train").torch()
    again.load_state_dict(state)
    assert expected[5:] == [numbers(batch) for batch in again]
    assert len(expected) - 5 == sum(1 for _ in loader)


def test_it_goes_where_a_dataloader_goes(stack: LocalStack) -> None:
    """The attributes that trainers look at; `set_epoch` does not begin an epoch again that was resumed midway."""
    feed = stack.feed("train")
    loader = feed.torch()
    assert (15, 120, 8, 0, False) == (
        len(loader),
        len(loader.dataset),
        loader.batch_size,
        loader.num_workers,
        loader.drop_last,
    )
    first = numbers(next(iter(loader)))
    loader.sampler.set_epoch(0)
    second = numbers(next(iter(loader)))
    loader.set_epoch(1)
    loader.set_epoch(0)
    assert first == numbers(next(iter(loader)))
    assert second != first


def test_wrong_uses_are_refused_in_words(stack: LocalStack) -> None:
    """Pickled into a worker, wrapped in a DataLoader, unknown fields."""
    loader = stack.feed("train").torch()
    with pytest.raises(SpecError, match="cannot be pickled"):
        pickle.dumps(loader)
    with pytest.raises(SpecError, match="takes the place of a DataLoader"):
        next(iter(torch.utils.data.DataLoader(loader)))
    with pytest.raises(SpecError, match="fields = 'image'"):
        next(iter(stack.feed("train").torch(fields="image")))  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="prefetch_to_device = 0"):
        stack.feed("train").torch(prefetch_to_device=0)


def losses(batches: Any, start: tuple[Any, ...] | None = None) -> tuple[list[float], tuple[Any, ...]]:
    """Train a small network on some batches; return each step's loss, and what it takes to go on."""
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, stride=4), torch.nn.Flatten(), torch.nn.Linear(4 * 7 * 9, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    if start is not None:
        model.load_state_dict(start[0])
        optimizer.load_state_dict(start[1])
    found: list[float] = []
    for batch in batches:
        logits = model(batch["image"].float() / 255)
        loss = torch.nn.functional.cross_entropy(logits, batch["label"].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found, (model.state_dict(), optimizer.state_dict())


def test_a_resumed_training_has_the_same_losses(stack: LocalStack) -> None:
    """To the last bit: as without the break, and as with a DataLoader that reads the same batches."""
    arrays = list(stack.feed("train"))
    rows = [
        {name: torch.from_numpy(np.moveaxis(a, 3, 1) if name == "image" else a) for name, a in batch.items()}
        for batch in arrays
    ]
    expected, _ = losses(torch.utils.data.DataLoader(rows, batch_size=None))
    loader = stack.feed("train").torch()
    before, trained = losses(islice(loader, 6))
    resumed = stack.feed("train").torch()
    resumed.load_state_dict(loader.state_dict())
    after, _ = losses(resumed, trained)
    assert expected == before + after


def test_two_ranks_of_torchrun_share_the_stream(stack: LocalStack, tmp_path: Path) -> None:
    """Neither is told its rank: each item comes once an epoch, both get equally many batches, and gradients agree."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(TRAINER)]
    environ = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    ran = subprocess.run(
        [*command, stack.address, str(tmp_path)],
        env=environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 0 == ran.returncode, ran.stderr[-3000:]
    parts = [np.load(tmp_path / f"rank{rank}.npz") for rank in range(2)]
    assert parts[0]["sizes"].shape == parts[1]["sizes"].shape
    assert np.array_equal(parts[0]["weights"], parts[1]["weights"])
    items = np.sort(np.concatenate([part["items"] for part in parts]))
    assert 119 == len(np.unique(items)) == len(items)


def test_views_are_tensors_of_their_own_shapes(photos: Path) -> None:
    """Of a folder with the recipe "dino" a batch is a tuple of all views and the label; normalised by their shapes."""
    loader = importlib.import_module("penstock").torch.DataLoader(
        photos, batch_size=4, transform="dino", num_workers=1, failure_budget=0.1
    )
    with loader:
        *views, label = next(iter(loader))
    assert [(4, 3, 224, 224)] * 2 + [(4, 3, 96, 96)] * 6 == [tuple(view.shape) for view in views]
    assert torch.int64 == label.dtype
    transform = {"recipe": {"name": "dino", "size": 56}, "normalize": {"rescale": 1 / 255, "where": "trainer"}}
    with run_stack(make_spec(photos, train=make_stream(transform=transform, patches=1)), 1) as stack:
        feed = stack.feed()
        batch, normalize = next(iter(feed.torch())), feed.normalizer()
    for name in ("global_2", "local_6"):
        assert torch.allclose(batch[name].float() / 255, normalize(batch[name]), atol=1e-6)
