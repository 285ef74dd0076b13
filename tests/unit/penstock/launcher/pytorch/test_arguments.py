"""Arguments of PyTorch's DataLoader: accepted, mapped or refused; PyTorch need not be installed."""

from typing import Any

import pytest
from support.datasets.squares import Squares

import penstock
from penstock.launcher.pytorch.arguments import feed_options
from penstock.protocol.errors import SpecError


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("collate_fn", len, r"collate_fn = <built-in function len>: .*pad or crop in the dataset's __getitem__"),
        ("sampler", [2, 1], r"sampler = \[2, 1\]: .*seed= and shuffle="),
        ("batch_sampler", [[1]], r"give these"),
        ("generator", 3, r"give that"),
        ("worker_init_fn", len, r"open files in the dataset's __init__"),
        ("in_order", False, r"in_order = False: batches always come in order"),
        ("timeout", -1, r"timeout = -1: give seconds, 0 or more"),
        ("timeout", float("nan"), r"timeout = nan"),
        ("prefetch_factor", 0, r"prefetch_factor = 0: give a number of batches, 1 or more"),
        ("prefetch_factor", 1.5, r"prefetch_factor = 1.5"),
        ("colate_fn", None, r"colate_fn = None: there is no such argument"),
    ],
)
def test_an_argument_that_would_change_results_is_refused(name: str, value: Any, instead: str) -> None:
    """The message quotes the value and says what to do; a misspelt name is never ignored."""
    with pytest.raises(SpecError, match=instead):
        penstock.torch.DataLoader(Squares(5), 4, **{name: value})


def test_several_are_refused_at_once() -> None:
    """So that a script is changed in one go."""
    with pytest.raises(SpecError, match=r"sampler = 1: .*; generator = 2: "):
        feed_options({"sampler": 1, "pin_memory": True, "generator": 2}, 2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"pin_memory": True, "persistent_workers": True, "in_order": True, "multiprocessing_context": "spawn"}, {}),
        ({"pin_memory_device": "", "persistent_workers": False, "timeout": 0, "prefetch_factor": None}, {}),
        ({"collate_fn": None, "sampler": None, "worker_init_fn": None}, {}),
        ({"timeout": 7, "prefetch_factor": 4}, {"timeout_s": 7.0, "prefetch": 12}),
    ],
)
def test_harmless_arguments_are_accepted(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    """Those with a meaning become options of the feed: seconds for a batch, and batches ahead for each worker."""
    assert expected == feed_options(arguments, 3)


def test_no_workers_prefetch_as_one() -> None:
    """num_workers = 0 starts one worker."""
    assert {"prefetch": 2} == feed_options({"prefetch_factor": 2}, 0)
