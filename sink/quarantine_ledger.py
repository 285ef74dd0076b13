"""The quarantine ledger: a file of JSON lines, one for each item and epoch that could not be made into samples."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.protocol.errors import SpecError

#: What a line holds, in this order.
FIELDS = ("stream", "epoch", "item", "path", "reason", "attempts", "worker")


class Ledger:
    """Appends to the file; an item of an epoch that stands in it already is not written again."""

    def __init__(self, path: str) -> None:
        """Open the file, if one is wanted, and read what it holds."""
        self._file = None
        self._known: set[tuple[str, int, int]] = set()
        if not path:
            return
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = Path(path).open("a+", encoding="utf-8")  # noqa: SIM115 - lives as long as the service
            self._file.seek(0)
            for line in self._file:
                if not line.endswith("\n"):  # torn when the last sink was killed: it ends here and comes again
                    self._file.write("\n")
                    break
                with suppress(json.JSONDecodeError):  # a torn line that was ended so
                    entry = json.loads(line)
                    self._known.add((entry["stream"], entry["epoch"], entry["item"]))
        except (OSError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise SpecError(
                f"quarantine ledger {path!r}: {error}; give a file that is writable and a ledger, or none"
            ) from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one item."""
        key = (record["stream"], record["epoch"], record["item"])
        if self._file is None or key in self._known:
            return
        self._known.add(key)
        self._file.write(json.dumps({name: record[name] for name in FIELDS}, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
