"""What a start costs with a large manifest: reading it with pyarrow alone, the first start, and later ones.

Each case runs in a process of its own, in turns; printed are medians of the rounds in seconds, the ratio to pyarrow of
the same round, the memory that was resident at most while the manifest was listed (without what the imports take, and
as a whole), and that which is resident after 50,000 items in random order were looked up. 10^7 rows take 0.5 GB of disk
for a CSV manifest and as much for the index.
"""

import argparse
import importlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

#: Rows that are written at once, and items that are looked up.
_ROWS, _LOOK_UPS = 1_000_000, 50_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or run one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--format", default="csv", choices=("csv", "parquet", "jsonl"))
    parser.add_argument("--cases", default="pyarrow,first,later", help="pyarrow holds all of the file in memory")
    parser.add_argument("--choose", action="store_true", help="with `where`, which takes half of the rows, and weights")
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default=None, help="where the manifest is written; default: a temporary folder")
    options = parser.parse_args(arguments)
    if options.case:
        print(json.dumps(run(options.case, options.folder, options.format, choose=options.choose)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write(Path(folder), options.format, options.rows, choose=options.choose)
        results: dict[str, list[dict[str, float]]] = {case: [] for case in options.cases.split(",")}
        for _ in range(options.rounds):
            for case, found in results.items():
                found.append(measured(case, folder, options))
    print(f"{options.rows:,} rows of {options.format}; median of {options.rounds} rounds (lowest to highest)")
    for case, found in results.items():
        for unit in ("wall_s", "cpu_s"):
            mine, base = ([each[unit] for each in some] for some in (found, next(iter(results.values()))))
            ratio = median(one / other for one, other in zip(mine, base, strict=True))
            spread = f"{min(mine):.3f} to {max(mine):.3f}"
            print(f"  {case:8} {unit:7} {median(mine):8.3f} ({spread}), {ratio:6.3f} of the first line's")
        for unit in ("listing_mb", "peak_mb", "resident_mb"):
            print(f"  {case:8} {unit:11} {max(each[unit] for each in found):8.0f}")
    return 0


def write(folder: Path, kind: str, rows: int, *, choose: bool) -> None:
    """Write a manifest as ImageNet's would be, maybe with a column more to choose by, changed long ago."""
    import pyarrow as pa  # noqa: PLC0415 - each case imports what it needs
    from pyarrow import parquet  # noqa: PLC0415 - as above

    place, writer = folder / f"m.{kind}", None
    columns = ["path", "label", *(["score"] if choose else [])]
    with place.open("wb") as file:
        file.write(f"{','.join(columns)}\n".encode() if kind == "csv" else b"")
        for first in range(0, rows, _ROWS):
            numbers = range(first, min(first + _ROWS, rows))
            labels = [f"n{n % 1000:08d}" for n in numbers]
            paths = [f"train/{label}/{label}_{n}.JPEG" for n, label in zip(numbers, labels, strict=True)]
            values = [paths, labels, [n % 8 / 4 for n in numbers]][: len(columns)]
            if kind == "parquet":
                table = pa.table(dict(zip(columns, values, strict=True)))
                writer = writer or parquet.ParquetWriter(file, table.schema)
                writer.write_table(table)
            elif kind == "csv":
                file.write("".join(f"{','.join(map(str, row))}\n" for row in zip(*values, strict=True)).encode())
            else:
                rows_ = (dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True))
                file.write("".join(f"{json.dumps(row)}\n" for row in rows_).encode())
        if writer is not None:
            writer.close()
    os.utime(place, (1e9, 1e9))


def measured(case: str, folder: str, options: argparse.Namespace) -> dict[str, float]:
    """Run a case in a process of its own."""
    if case == "first":
        for index in Path(folder).glob("cache/penstock/listings/*"):
            index.unlink()
    command = [sys.executable, "-P", __file__, "--case", case, "--folder", folder, "--format", options.format]
    command += ["--choose"] if options.choose else []
    environment = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=3600)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(case: str, folder: str, kind: str, *, choose: bool) -> dict[str, float]:
    """Read the manifest in one way; imports are not counted."""
    from pyarrow import csv, parquet  # noqa: PLC0415 - each case imports what it needs
    from pyarrow import json as lines  # noqa: PLC0415 - as above

    from penstock.sources.base import list_source  # noqa: PLC0415 - as above
    from penstock.sources.manifest import ManifestSource  # noqa: PLC0415 - as above

    fields = {"where": [{"column": "score", "op": ">=", "value": 1}], "weight_column": "score"} if choose else {}
    source = ManifestSource.model_validate({"kind": "manifest", "root": "r", "path": f"m.{kind}", **fields})
    importlib.import_module("pyarrow.compute")
    before = memory("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    if case == "pyarrow":
        read = {"csv": csv.read_csv, "parquet": parquet.read_table, "jsonl": lines.read_json}[kind]
        read(f"{folder}/m.{kind}")
        items = None
    else:
        items = list_source(source, {"r": folder})
    found = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "peak_mb": memory("VmHWM")}
    rng = random.Random(1)  # noqa: S311 - no secret
    for _ in range(_LOOK_UPS if items is not None else 0):
        assert items is not None  # noqa: S101 - for the type
        items.item(rng.randrange(len(items)))
    return found | {"listing_mb": found["peak_mb"] - before, "resident_mb": memory("VmRSS")}


def memory(name: str) -> float:
    """Return a figure of the kernel on this process's memory, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1e3


if __name__ == "__main__":
    sys.exit(main())
