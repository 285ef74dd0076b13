"""Map-style datasets on a worker: what it imports, and what it makes of an item."""

from typing import Any

import numpy as np
import pytest
from support.datasets.squares import Squares

from penstock.launcher.pytorch.imported_dataset import ImportedDataset
from penstock.protocol.errors import SpecError
from penstock.worker.imaging.map_style import load_map_style, open_dataset

PATH = "support.datasets.squares:Squares"
PARAMETERS: dict[str, Any] = {"dataset": PATH, "arguments": {"length": 5}, "fields": ["values", "square", "draw"]}


def test_a_worker_imports_only_what_it_was_permitted() -> None:
    """Whatever a spec names: code that was not permitted is not even imported."""
    parameters = {"dataset": "subprocess:run", "arguments": {"args": ["false"]}}
    with pytest.raises(SpecError, match=r"no permission to import \(permitted: support.*--dataset=subprocess:run"):
        load_map_style("here", parameters, [PATH])


def test_draws_depend_on_the_sample_alone() -> None:
    """A dataset's own random numbers are those of the sample's generator, whatever was drawn before."""
    load_item = load_map_style("here", PARAMETERS, [PATH])
    sample = {"item": np.array(3), "patch": np.array(0)}
    first, second, other = (load_item(sample, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert [9, 9] == [int(first["square"]), int(first["values"].sum() / 2)]
    assert first["draw"] == second["draw"]
    assert first["draw"] != other["draw"]


def test_a_damaged_first_item_does_not_hide_the_fields() -> None:
    """The schema is that of the first item that can be had."""
    dataset = ImportedDataset(Squares, fields=("values", "square", "draw"), length=5, bad=0)
    produces = dataset.stream()["transform"]["custom"][0]["produces"]
    assert {"dtype": "float32", "shape": [3, 2]} == produces["values"]
    assert {"dtype": "int64", "shape": []} == produces["square"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("squares", "give module:Class"),
        ("support.datasets.squares:Circles", "cannot be made here: AttributeError"),
        ("support.nothing:Squares", "cannot be made here: ModuleNotFoundError"),
        ("builtins:object", "cannot be made here: TypeError"),
    ],
)
def test_a_dataset_that_cannot_be_made_is_named(path: str, message: str) -> None:
    """With its import path and the reason."""
    with pytest.raises(SpecError, match=message):
        open_dataset(path, {"length": 1})


def test_classes_of_a_script_and_arguments_of_no_json_are_refused() -> None:
    """Workers can import neither."""

    class Local(Squares):
        pass

    with pytest.raises(SpecError, match="move it to the top level of a module"):
        ImportedDataset(Local, length=1)
    with pytest.raises(SpecError, match="argument 'length' cannot be sent"):
        ImportedDataset(Squares, length=object())
