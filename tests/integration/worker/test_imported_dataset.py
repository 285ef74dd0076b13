"""A map-style dataset of the user on workers of several machines: a spec, a file, and the permission to import it."""

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.datasets.squares import Squares
from support.services.running import FAST, PENSTOCK, running
from support.streams import until

import penstock
from penstock.protocol.runtime.health import query

pytestmark = pytest.mark.integration

TESTS = Path(__file__).resolve().parents[2]


def test_workers_with_copies_of_the_spec_s_file_make_each_item_once(tmp_path: Path, free_ports: list[int]) -> None:
    """Over TCP, each worker with a folder of its own; the damaged item is quarantined."""
    ventilator, results, trainers = (f"tcp://127.0.0.1:{port}" for port in free_ports)
    dataset = penstock.torch.ImportedDataset(Squares, fields=("values", "square", "draw"), length=200, bad=7)
    spec = dataset.write_spec(tmp_path / "head", batch_size=4, seed=3, task_items=4)
    permitted = ["--dataset=support.datasets.squares:Squares", f"--import-path={TESTS}"]
    workers = []
    for name in ("one", "two"):
        shutil.copytree(tmp_path / "head", tmp_path / name)
        own = [f"--root=items={tmp_path / name}", f"--health={tmp_path / name}.health", *permitted]
        workers.append([sys.executable, "-m", "penstock.worker", "--ventilator", ventilator, *own, *FAST])
    shown = f"{tmp_path}/ventilator.health"
    services = [
        [PENSTOCK, "ventilator", "--spec", str(spec), "--bind", ventilator, "--health", shown, *FAST],
        [PENSTOCK, "sink", "--ventilator", ventilator, "--results", results, "--bind", trainers, *FAST],
    ]
    with running(*services, *workers):
        until(lambda: query(shown).get("workers") == len(workers), "both workers")
        with penstock.connect(trainers) as feed:
            batches = list(feed)
    squares = [int(square) for batch in batches for square in batch["square"]]
    assert Counter(index * index for index in range(200) if index != 7) == Counter(squares)
    assert squares != sorted(squares)
    assert all((batch["values"][:, 0, 0] ** 2 == batch["square"]).all() for batch in batches)
