"""The drop-in DataLoader over a map-style dataset: the user's own `__getitem__` on Penstock's workers."""

import importlib
from itertools import islice
from typing import Any

import pytest
from support.datasets.squares import Squares

import penstock
from penstock.protocol.errors import SpecError

pytestmark = [pytest.mark.integration, pytest.mark.torch]

torch: Any = importlib.import_module("torch")

FIELDS = ("values", "square", "draw")


def test_items_come_once_and_a_state_goes_on_with_the_very_next_batch() -> None:
    """Each item but the damaged one, which is quarantined, with the same draws at another number of workers."""
    dataset = penstock.torch.ImportedDataset(Squares, fields=FIELDS, length=50, bad=7)
    with penstock.torch.DataLoader(dataset, 4, shuffle=True, num_workers=2) as loader:
        assert (13, 50, 4) == (len(loader), len(loader.dataset), loader.batch_size)
        expected = [[value.tolist() for value in batch] for batch in loader]
        loader.set_epoch(1)
        list(islice(loader, 3))
        state = loader.state_dict()
        later = [[value.tolist() for value in batch] for batch in loader]
    indices = [int(array[0][0]) for batch in expected for array in batch[0]]
    assert [index for index in range(50) if index != 7] == sorted(indices)
    assert indices != sorted(indices)
    assert [index * index for index in indices] == [square for batch in expected for square in batch[1]]
    with penstock.torch.DataLoader(dataset, 4, shuffle=True, num_workers=1) as loader:
        assert expected == [[value.tolist() for value in batch] for batch in loader]
        loader.load_state_dict(state)
        assert later == [[value.tolist() for value in batch] for batch in loader]


def test_dtypes_are_those_that_pytorch_makes() -> None:
    """In the dataset's order without shuffling, as tensors like those of default_collate."""
    dataset = penstock.torch.ImportedDataset(Squares, fields=FIELDS, length=5)
    with penstock.torch.DataLoader(dataset, 5, num_workers=0) as loader:
        values, squares, draws = next(iter(loader))
    expected = next(iter(torch.utils.data.DataLoader(Squares(5), 5)))
    assert torch.equal(expected[0], values)
    assert torch.equal(expected[1], squares)
    assert expected[2].dtype == draws.dtype


def test_a_dataset_that_workers_cannot_import_is_refused() -> None:
    """In words that say what to do instead."""
    with pytest.raises(SpecError, match=r"give penstock\.torch\.ImportedDataset"):
        penstock.torch.DataLoader(Squares(5), 4)
