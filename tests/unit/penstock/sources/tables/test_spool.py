"""Items that are gathered in a file: the listing is the one of memory, and takes little of it."""

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.sources.file_listing import FileListing, ListingBuilder
from penstock.sources.tables import index_file, spool
from penstock.sources.tables.listing_index import gathered_in_file
from penstock.sources.tables.spool import SpoolError, Spools

#: Lists a manifest of many blocks; prints by how many bytes the process grew, and how many items there are.
MEASURE = """
import json, sys
import pyarrow, pyarrow.compute, pyarrow.csv, pyarrow.json, pyarrow.parquet
from penstock.sources.base import list_source
from penstock.sources.manifest import ManifestSource
from penstock.sources.tables import text_blocks
from support.services.peaks import begin_peak, peak_bytes
pyarrow.set_memory_pool(pyarrow.system_memory_pool())
text_blocks._BLOCK_BYTES = 1_000_000
source = ManifestSource.model_validate(json.loads(sys.argv[2]))
before = begin_peak()
found = list_source(source, {"r": sys.argv[1]})
print(peak_bytes() - before, len(found))
"""


def gathered(builder: Any, *, weighted: bool) -> FileListing:
    """Gather items one by one and many at once, of three classes in the order c, a, b."""
    rng = random.Random(1)
    for number in range(20):
        paths = [rng.randbytes(rng.randint(1, 90)).hex().encode() for _ in range(rng.randint(1, 30))]
        weights = [rng.random() for _ in paths]
        labels = [rng.randrange(3) for _ in paths]
        if number % 2:
            lengths = np.array(list(map(len, paths)), np.uint16)
            given = np.array(weights) if weighted else None
            builder.extend(memoryview(b"".join(paths)), lengths, np.array(labels, np.int32), given)
            continue
        for path, label, weight in zip(paths, labels, weights, strict=True):
            builder.add(path, label, weight if weighted else None)
    found: FileListing = builder.build("manifest", ("a", "b", "c"), np.array([2, 0, 1], np.int32))
    return found


def facts(listing: FileListing) -> list[object]:
    """Return all that a listing says."""
    weights = None if listing.weights is None else listing.weights.tolist()
    return [listing.digest, listing.classes, [listing.item(index) for index in range(len(listing))], weights]


@pytest.mark.parametrize("weighted", [False, True])
def test_a_file_holds_the_listing_of_memory(weighted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """Whether items come one by one or many at once; the file is removed, and the listing stays."""
    monkeypatch.setattr(spool, "_NEAR", 7)
    monkeypatch.setattr(spool, "_AT_ONCE", 100)
    monkeypatch.setattr(spool, "_DIGESTED", 1000)
    with Spools(tmp_path, {"boot": "x"}) as spools:
        found = gathered(spools.new(), weighted=weighted)
        assert 1 == len(list(tmp_path.iterdir()))
    assert [] == list(tmp_path.iterdir())
    assert facts(gathered(ListingBuilder(), weighted=weighted)) == facts(found)
    assert 0 == found.held_bytes


def test_on_a_full_disk_the_items_are_gathered_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the disk turns out to be full; nothing is left there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = facts(gathered(ListingBuilder(), weighted=True))
    for name in ("header_of", "sums_table"):

        def full(*_: Any, **__: Any) -> bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(index_file, name, full)
            assert expected == facts(gathered_in_file(lambda begin: gathered(begin(), weighted=True)))
    assert [] == list((tmp_path / "penstock/listings").iterdir())


def test_a_disk_that_takes_no_more_is_said_so(tmp_path: Path) -> None:
    """By an error of ours, so that no reader takes it for a bad manifest."""
    if not Path("/dev/full").exists():
        pytest.skip("NOT TESTED: no /dev/full here")
    full = os.open("/dev/full", os.O_RDWR)
    with Spools(tmp_path, {}) as spools:
        one = spools.new()
        os.dup2(full, one._paths.fileno())
        os.close(full)
        with pytest.raises(SpoolError):
            gathered(one, weighted=False)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_first_start_takes_little_memory(kind: str, tmp_path: Path) -> None:
    """Of a manifest whose listing has 80 MB: less than that, where gathering it in memory would take twice as much."""
    pa = pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    rows, name = 400_000, tmp_path / f"m.{kind}"
    paths = [f"train/{number:0200d}.jpg" for number in range(rows)]
    if kind == "parquet":
        columns = {"path": paths, "label": [f"c{number % 9}" for number in range(rows)], "often": [0.5] * rows}
        pytest.importorskip("pyarrow.parquet").write_table(pa.table(columns), name, row_group_size=20_000)
    elif kind == "csv":
        lines = (f"{path},c{number % 9},0.5\n" for number, path in enumerate(paths))
        name.write_text("path,label,often\n" + "".join(lines))
    else:
        lines = (f'{{"path": "{path}", "label": "c{number % 9}", "often": 0.5}}\n' for number, path in enumerate(paths))
        name.write_text("".join(lines))
    where = [{"column": "label", "op": "!=", "value": "c0"}]
    source = {"kind": "manifest", "root": "r", "path": name.name, "where": where, "weight_column": "often"}
    environment = {"PYTHONPATH": str(Path(__file__).parents[4]), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), json.dumps(source)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env=environment,
    )
    grown, items = map(int, done.stdout.split())
    assert sum(number % 9 != 0 for number in range(rows)) == items
    assert grown < 80_000_000
