"""What a start costs with a large manifest: reading it with pyarrow alone, the first start, and later ones.

Each case runs in a process of its own, in turns; printed are medians of the rounds in seconds, the ratio to pyarrow of
the same round, and the memory that is resident after 50,000 items in random order were looked up. 10^7 rows take 0.5 GB
of disk for the manifest and as much for the index.
"""

import argparse
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
_ROWS, _LOOK_UPS = 100_000, 50_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or run one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default=None, help="where the manifest is written; default: a temporary folder")
    options = parser.parse_args(arguments)
    if options.case:
        print(json.dumps(run(options.case, options.folder)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write(Path(folder) / "m.csv", options.rows)
        results: dict[str, list[dict[str, float]]] = {"pyarrow": [], "first": [], "later": []}
        for _ in range(options.rounds):
            for case, found in results.items():
                found.append(measured(case, folder))
    print(f"{options.rows:,} rows; median of {options.rounds} rounds (lowest to highest)")
    for case, found in results.items():
        for unit in ("wall_s", "cpu_s"):
            mine, base = [each[unit] for each in found], [each[unit] for each in results["pyarrow"]]
            ratio = median(one / other for one, other in zip(mine, base, strict=True))
            print(f"  {case:8} {unit:7} {median(mine):8.3f} ({min(mine):.3f} to {max(mine):.3f}), {ratio:6.3f} of it")
        print(f"  {case:8} resident MB {max(each['resident_mb'] for each in found):8.0f}")
    return 0


def write(place: Path, rows: int) -> None:
    """Write a manifest as ImageNet's would be, changed long ago."""
    with place.open("w", encoding="utf-8") as file:
        file.write("path,label\n")
        for first in range(0, rows, _ROWS):
            numbers = range(first, min(first + _ROWS, rows))
            file.write("".join(f"train/n{n % 1000:08d}/n{n % 1000:08d}_{n}.JPEG,n{n % 1000:08d}\n" for n in numbers))
    os.utime(place, (1e9, 1e9))


def measured(case: str, folder: str) -> dict[str, float]:
    """Run a case in a process of its own."""
    if case == "first":
        for index in Path(folder).glob("cache/penstock/listings/*"):
            index.unlink()
    command = [sys.executable, "-P", __file__, "--case", case, "--folder", folder]
    environment = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=3600)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(case: str, folder: str) -> dict[str, float]:
    """Read the manifest in one way; imports are not counted."""
    from pyarrow import csv  # noqa: PLC0415 - each case imports what it needs

    from penstock.sources.base import list_source  # noqa: PLC0415 - as above
    from penstock.sources.manifest import ManifestSource  # noqa: PLC0415 - as above

    wall, cpu = time.perf_counter(), time.process_time()
    if case == "pyarrow":
        csv.read_csv(f"{folder}/m.csv")
        items = None
    else:
        items = list_source(ManifestSource(kind="manifest", root="r", path="m.csv"), {"r": folder})
    found = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    rng = random.Random(1)  # noqa: S311 - no secret
    for _ in range(_LOOK_UPS if items is not None else 0):
        assert items is not None  # noqa: S101 - for the type
        items.item(rng.randrange(len(items)))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return found | {"resident_mb": int(resident.split()[1]) / 1e3}


if __name__ == "__main__":
    sys.exit(main())
