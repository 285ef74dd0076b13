"""The snippet of docs/trainers.md for Flax: Orbax's checkpoint resumes in mid-epoch with the very next batch."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.trainers.snippets import SNIPPETS, Cut

from penstock.launcher.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.torch, pytest.mark.filterwarnings("default")]

nnx: Any = importlib.import_module("flax.nnx")

#: Batches of an epoch, and how many a run of two epochs gets before it is cut off.
EPOCH, CUT = 15, 12


class Network(nnx.Module):  # type: ignore[misc]
    """A convolution and a linear layer."""

    def __init__(self) -> None:
        random = nnx.Rngs(3)
        self.first = nnx.Conv(3, 4, (5, 5), strides=4, rngs=random)
        self.last = nnx.Linear(4, 2, rngs=random)

    def __call__(self, images: Any) -> Any:
        """Return the logits."""
        return self.last(nnx.relu(self.first(images)).mean((1, 2)))


def train(address: str, folder: Path, cut: int) -> tuple[list[int], list[Any]]:
    """Run the snippet up to the step `cut`; return the sum of each batch, and the weights."""
    names: dict[str, Any] = {"__name__": "flax_training"}
    exec(compile(SNIPPETS["flax"], "trainers.md:flax", "exec"), names)  # noqa: S102 - what the page says
    step, seen = names["train_step"], list[int]()

    def train_step(network: Any, optimizer: Any, images: Any, labels: Any) -> Any:
        if len(seen) == cut:
            raise Cut
        seen.append(int(images.astype(np.int64).sum()))
        return step(network, optimizer, images, labels)

    names["train_step"] = train_step
    network = Network()
    try:
        names["train"](network, address, folder)
    except Cut:
        assert len(seen) == cut
    leaves = importlib.import_module("jax").tree.leaves(nnx.state(network))
    return seen, [np.asarray(leaf) for leaf in leaves]


def test_a_run_that_is_cut_off_goes_on_with_the_very_next_batch(stack: LocalStack, tmp_path: Path) -> None:
    """From its last checkpoint; the weights at the end are those of a run that was not cut off."""
    whole, weights = train(stack.address, tmp_path / "whole", cut=-1)
    assert 2 * EPOCH == len(whole) == len(set(whole))
    before, _ = train(stack.address, tmp_path / "cut", CUT)
    after, resumed = train(stack.address, tmp_path / "cut", cut=-1)
    assert whole[:CUT] == before
    assert whole[10:] == after
    assert len(weights) == len(resumed) == 4
    for expected, got in zip(weights, resumed, strict=True):
        assert np.allclose(expected, got, rtol=0, atol=1e-6)
