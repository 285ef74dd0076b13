"""The quarantine ledger: compacted now and then, whole after every kill, readable by `penstock quarantine`."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.commands.quarantine import merge, read_ledger
from penstock.protocol.errors import SourceError, SpecError
from penstock.sink.core.instructions import LedgerEntry
from penstock.sink.quarantine_ledger import Ledger

#: Writes failures of three items over and over, and says so after each.
_WRITER = """
import sys
from penstock.sink.core.instructions import LedgerEntry
from penstock.sink.quarantine_ledger import Ledger
ledger = Ledger(sys.argv[1], lines=4)
for epoch in range(int(sys.argv[2]), 10**9):
    for item in range(3):
        ledger.write(LedgerEntry("train", epoch, item, f"{item}.jpg", f"first in {epoch}", 1, "w"))
    print(epoch, flush=True)
"""


def make_entry(epoch: int, item: int, reason: str = "empty") -> LedgerEntry:
    """Return a failure of an item."""
    return LedgerEntry("train", epoch, item, f"cat/ä\u2028{item}.jpg", reason, 1, "w")


def written(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_thousands_of_epochs_keep_each_item_s_first_entry_and_all_epochs(tmp_path: Path) -> None:
    """The file stays short, `penstock quarantine` knows every epoch, and a restart writes nothing twice."""
    path = tmp_path / "run" / "quarantine.jsonl"
    ledger = Ledger(str(path), lines=20)
    for epoch in range(2000):
        for item in range(3):
            ledger.write(make_entry(epoch, item, f"first seen in {epoch}"))
    ledger.close()
    assert len(written(path)) <= 20
    assert ["first seen in 0"] * 3 == [line["reason"] for line in written(path)[:3]]
    again = Ledger(str(path), lines=20)
    before = path.read_bytes()
    again.write(make_entry(77, 1))
    again.close()
    assert before == path.read_bytes()
    epochs: dict[int, set[int]] = {}
    for failed in merge(read_ledger(path)):
        epochs.setdefault(failed.item, set()).update(failed.epochs)
    assert {item: set(range(2000)) for item in range(3)} == epochs
    assert [0o600, 0o700] == [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)]


def test_more_items_than_lines_do_not_compact_at_every_entry(tmp_path: Path) -> None:
    """Compaction costs as much as there are items, so it waits until there are twice as many lines."""
    path = tmp_path / "quarantine.jsonl"
    ledger = Ledger(str(path), lines=4)
    inodes = set[int]()
    for item in range(100):
        ledger.write(make_entry(0, item))
        inodes.add(path.stat().st_ino)
    ledger.close()
    assert list(range(100)) == [line["item"] for line in written(path)]
    assert len(inodes) < 10


def test_no_kill_loses_a_first_entry(tmp_path: Path) -> None:
    """Killed again and again while it compacts at every other line: the file is a ledger, and nothing known is lost."""
    path, reached = tmp_path / "quarantine.jsonl", -1
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(reached + 1)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        with process, process.stdout:
            for line in process.stdout:
                reached = int(line)
                if reached % 20 == 19:
                    process.kill()
                    break
            left = process.stdout.read().split()
        reached = max([reached, *map(int, left)])
        first = {line["item"]: line["reason"] for line in reversed(written(path)) if "reason" in line}
        assert dict.fromkeys(range(3), "first in 0") == first
    ledger = Ledger(str(path))  # it takes the file of a killed one as it is
    ledger.close()
    epochs: dict[int, set[int]] = {}
    for failed in merge(read_ledger(path)):
        epochs.setdefault(failed.item, set()).update(failed.epochs)
    assert all(set(range(reached + 1)) <= found for found in epochs.values())


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """A full disk may have torn it, in the middle of a letter; its item is written again when it fails again."""
    path = tmp_path / "quarantine.jsonl"
    ledger = Ledger(str(path))
    for item in range(2):
        ledger.write(make_entry(0, item))
    ledger.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index("ä".encode(), whole.index(b"\n")) + 1])
    assert 1 == len(read_ledger(path))
    ledger = Ledger(str(path))
    ledger.write(make_entry(0, 1))
    ledger.close()
    assert whole == path.read_bytes()


def test_what_cannot_be_compacted_goes_on_growing(tmp_path: Path) -> None:
    """A folder that has the fresh file's name: nothing is lost, and later tries are rarer."""
    path = tmp_path / "quarantine.jsonl"
    (tmp_path / "quarantine.jsonl.new").mkdir()
    ledger = Ledger(str(path), lines=4)
    for epoch in range(20):
        ledger.write(make_entry(epoch, 0))
    ledger.close()
    assert list(range(20)) == [line["epoch"] for line in written(path)]


@pytest.mark.parametrize("also", ["[[5, 3]]", "[[0, 4611686018427387904]]", "[1]", "7"])
def test_ranges_that_are_none_are_refused(also: str, tmp_path: Path) -> None:
    """By the reader, in words, rather than counted through."""
    path = tmp_path / "quarantine.jsonl"
    entry = json.dumps({"stream": "s", "epoch": 0, "item": 1, "path": "p", "reason": "r", "attempts": 1, "worker": ""})
    path.write_text(f'{entry[:-1]}, "also": {also}}}\n', encoding="utf-8")
    with pytest.raises(SourceError, match="line 1"):
        read_ledger(path)


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    """By the sink, before it serves."""
    path = tmp_path / "quarantine.jsonl"
    path.write_bytes(b'{"stream": 1}\n')
    with pytest.raises(SpecError, match="give a file that is writable and a ledger"):
        Ledger(str(path))
