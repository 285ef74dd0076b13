"""The quarantine ledger: a file of JSON lines that names the items that could not be made into samples.

A failure is appended as one line for its item and epoch. Over thousands of epochs that would grow without bound, so now
and then the file is compacted to one line for each item: its first entry, with the other epochs in which it failed as
`also`, a list of [start, stop) ranges. `penstock quarantine` reads both kinds of line.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from penstock.protocol.errors import SpecError
from penstock.protocol.ranges import Ranges, normalise, subtract
from penstock.protocol.transport.own_files import make_own_folder, open_own
from penstock.sink.core.instructions import LedgerEntry

#: Lines of a file before it is compacted, about 3 MB; where more items fail, twice as many lines as there are items.
LINES = 10_000
#: Ranges of epochs that are remembered of an item, the latest: an older failure that comes again is listed again.
_RANGES = 16


class Ledger:
    """Appends to the file; an item of an epoch that stands in it already is not written again."""

    def __init__(self, path: str, lines: int = LINES) -> None:
        """Open the file, if one is wanted, and read what it holds; it is compacted at so many `lines`."""
        self._file: IO[bytes] | None = None
        #: The epochs in which each item failed.
        self._epochs: dict[tuple[str, int], Ranges] = {}
        self._lines, self._least_lines = 0, lines
        if not path:
            return
        try:
            # Of a link, the file that it leads to is replaced, and not the link.
            self._path = Path(path).resolve()
            make_own_folder(self._path.parent)
            self._file = open_own(self._path, "a+b")
            self._read(self._file)
            self._most_lines = self._limit()
        except (OSError, KeyError, TypeError, ValueError) as error:
            self.close()
            raise SpecError(
                f"quarantine ledger {path!r}: {error}; give a file that is writable and a ledger, or none"
            ) from error

    def write(self, entry: LedgerEntry) -> None:
        """Append one item, unless the file has it for this epoch."""
        known = self._epochs.get((entry.stream, entry.item), ())
        if self._file is None or any(start <= entry.epoch < stop for start, stop in known):
            return
        self._note(entry.stream, entry.item, ((entry.epoch, entry.epoch + 1),))
        self._file.write(_line(asdict(entry)))
        self._file.flush()
        self._lines += 1
        if self._lines >= self._most_lines:
            self._compact(self._file)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def _read(self, file: IO[bytes]) -> None:
        """Note what the file holds; cut off a last line that a killed sink or a full disk left torn."""
        file.seek(0)
        complete = 0
        for line in file:
            if not line.endswith(b"\n"):
                file.truncate(complete)
                break
            complete += len(line)
            for entry in _parsed(line):
                self._lines += 1
                self._note(entry["stream"], entry["item"], _epochs_of(entry))

    def _note(self, stream: str, item: int, epochs: Ranges) -> None:
        known = self._epochs.get((stream, item), ())
        self._epochs[stream, item] = normalise((*known, *epochs))[-_RANGES:]

    def _limit(self) -> int:
        return max(self._least_lines, 2 * len(self._epochs))

    def _compact(self, file: IO[bytes]) -> None:
        """Replace the file by one with a line for each item.

        The new file takes the name at once and complete: a sink that is killed leaves one or the other. Where it cannot
        be made (a full disk, a folder that is not ours), the old one grows to twice its size before the next try.
        """
        fresh = self._path.with_name(f"{self._path.name}.new")
        self._most_lines = 2 * self._lines
        try:
            with suppress(FileNotFoundError):
                fresh.unlink()  # left by a sink that was killed
            with open_own(fresh, "xb") as made:
                file.seek(0)
                made.writelines(self._compacted(file))
                made.flush()
                os.fsync(made.fileno())
            opened = fresh.open("a+b")
            fresh.replace(self._path)
        except OSError:
            with suppress(OSError):
                fresh.unlink()
            file.seek(0, os.SEEK_END)
            return
        file.close()
        self._file, self._lines, self._most_lines = opened, len(self._epochs), self._limit()

    def _compacted(self, file: IO[bytes]) -> Iterator[bytes]:
        """Yield a line for each item, in the order of their first entries."""
        seen: set[tuple[str, int]] = set()
        for entry in (entry for line in file for entry in _parsed(line)):
            key = (entry["stream"], entry["item"])
            if key not in seen:
                seen.add(key)
                epoch = entry["epoch"]
                also = subtract(self._epochs[key], ((epoch, epoch + 1),))
                yield _line(entry | ({"also": also} if also else {}))


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"


def _parsed(line: bytes) -> Iterator[dict[str, Any]]:
    """Yield the entry in a line; nothing if an earlier release of Penstock left the line torn."""
    with suppress(json.JSONDecodeError):
        yield json.loads(line)


def _epochs_of(entry: dict[str, Any]) -> Ranges:
    return normalise([(entry["epoch"], entry["epoch"] + 1), *((start, stop) for start, stop in entry.get("also", ()))])
