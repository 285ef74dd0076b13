"""The quarantine ledger: a file of JSON lines, one for each item and epoch that could not be made into samples."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from penstock.protocol.errors import SpecError
from penstock.sink.core.instructions import LedgerEntry


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

    def write(self, entry: LedgerEntry) -> None:
        """Append one item, unless the file has it for this epoch."""
        key = (entry.stream, entry.epoch, entry.item)
        if self._file is None or key in self._known:
            return
        self._known.add(key)
        self._file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
