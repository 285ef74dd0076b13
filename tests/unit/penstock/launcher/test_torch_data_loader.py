"""What `penstock.torch.DataLoader` refuses before it starts anything; PyTorch need not be installed."""

from typing import Any

import pytest
from support.datasets.squares import Squares

import penstock
from penstock.protocol.errors import SpecError


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("collate_fn", len, r"collate_fn = <built-in function len>: .*pad or crop in the dataset's __getitem__"),
        ("sampler", [2, 1], r"sampler = \[2, 1\]: .*seed= and shuffle="),
        ("worker_init_fn", len, r"open files in the dataset's __init__"),
        ("colate_fn", None, r"colate_fn = None: there is no such argument"),
    ],
)
def test_an_argument_without_a_counterpart_is_refused(name: str, value: Any, instead: str) -> None:
    """The message quotes the value and says what to do; a misspelt name is never ignored."""
    with pytest.raises(SpecError, match=instead):
        penstock.torch.DataLoader(Squares(5), 4, **{name: value})


def test_a_dataset_object_is_refused_with_its_class() -> None:
    """An object would have to be pickled: its class is named instead. Arguments left at None are no reason."""
    with pytest.raises(SpecError, match=r"sent no objects.*give penstock\.torch\.ImportedDataset\(Squares, "):
        penstock.torch.DataLoader(Squares(5), 4, collate_fn=None, sampler=None)


def test_a_class_of_the_script_is_to_be_moved() -> None:
    """Workers cannot import `__main__`, given as an object or as a class."""
    of_script = type("Photos", (Squares,), {"__module__": "__main__"})
    with pytest.raises(SpecError, match="move class Photos from the script into a module of its own"):
        penstock.torch.DataLoader(of_script(5), 4)
    with pytest.raises(SpecError, match=r"the script itself.*move it to the top level of a module"):
        penstock.torch.ImportedDataset(of_script, length=5)
