"""The folder that shards are written into: whose they are, which are there, and what failed.

`convert.json` says of which items and by which settings the shards are made. So an interrupted conversion goes on with
the shards that are missing, and shards of two conversions never lie in one folder.
"""

import fcntl
import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.protocol.errors import SpecError

#: File that says what the shards are made of, its name while it is written, and the lock of the program that writes.
_FACTS, _PART, _LOCK = "convert.json", ".convert.json.part", ".convert.lock"
_VERSION = 1


class OutputFolder:
    """A folder of shards, of which this program writes those that are missing."""

    def __init__(self, place: Path, facts: Mapping[str, Any]) -> None:
        """Take the folder; `facts` are all that decides the shards but how many items each has. Raises SpecError."""
        self.place, self._facts = place, {"version": _VERSION, **facts}

    @contextmanager
    def locked(self) -> Generator[None]:
        """Make the folder, and hold it while the block lasts. Raises SpecError first if it is another's."""
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            self._check_ours()
            descriptor = os.open(self.place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SpecError(f"{self.place}: cannot write into the folder: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SpecError(f"{self.place}: another penstock convert writes into it; wait for its end") from None
            yield
        finally:
            os.close(descriptor)

    def known_shard_items(self) -> int | None:
        """Return how many items a shard of this folder has; None if it is new. Raises SpecError if it is another's."""
        facts = self.place / _FACTS
        try:
            known = json.loads(facts.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SpecError(f"{facts}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise SpecError(f"{facts}: damaged: {error}; give a new folder") from error
        if not isinstance(known, dict):
            raise SpecError(f"{facts}: not written by penstock convert, it holds {known!r:.60}: give a new folder")
        count = known.pop("shard_items", None)
        if known != json.loads(json.dumps(self._facts)) or not isinstance(count, int) or count < 1:
            changed = sorted(name for name in {*known, *self._facts} if known.get(name) != self._facts.get(name))
            raise SpecError(
                f"{self.place}: holds shards that were made of other items, or by other settings (changed: "
                f"{', '.join(changed) or 'shard_items'}): give a new folder, or the settings of that time"
            )
        return count

    def _check_ours(self) -> None:
        """Raise SpecError if the folder holds files, and none that says that they are of a conversion."""
        names = {each.name for each in self.place.iterdir()}
        others = names - {_LOCK, _PART}
        if others and _FACTS not in names:
            raise SpecError(f"{self.place}: holds other files, such as {min(others)!r}: give a new folder")

    def begin(self, shard_items: int) -> None:
        """Say what the shards of this folder are."""
        part = self.place / _PART
        text = json.dumps({**self._facts, "shard_items": shard_items}, indent=2)
        part.write_text(text + "\n", encoding="utf-8")
        part.rename(self.place / _FACTS)

    def failures_file(self, shard: str) -> Path:
        """Return the file that lists what a shard lacks; without it, the shard has all its items."""
        return self.place / f"{Path(shard).stem}.failed.jsonl"

    def failures(self, shard: str) -> list[dict[str, Any]]:
        """Return what a shard lacks."""
        try:
            text = self.failures_file(shard).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.split("\n") if line]  # a path may hold other ends of lines
