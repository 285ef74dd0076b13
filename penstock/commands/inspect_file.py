"""Reads the facts about an HDF5 file: fields and their storage, counts of classes, quarantined items, its spec."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.confined_files import opened_path
from penstock.protocol.storage.hdf5_facts import Facts, read_facts
from penstock.protocol.storage.hdf5_open import (
    Bounds,
    check_filters,
    h5py,
    hard_links,
    locate,
    names_of,
    open_hdf5,
)
from penstock.protocol.storage.hdf5_parts import PartFiles
from penstock.protocol.storage.hdf5_virtual import Access, data_sets, find, read_rows, stored_rows
from penstock.protocol.storage.rows_hdf5 import class_names

#: Rows of a small field that are counted in one go.
_BLOCK_ROWS = 1_000_000
#: Different numbers that are counted; more are no epochs and no classes.
_MOST_COUNTED = 100_000
#: Filters by their registered numbers; 2 and 3 only prepare and check.
_FILTERS = {
    1: "gzip",
    4: "szip",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32015: "zstd",
    32026: "blosc2",
}
_PREPARING = {2: "shuffle", 3: "fletcher32"}


class Inspected:
    """An open file and its facts."""

    def __init__(self, path: str | Path, *, allow_outside: bool = False) -> None:
        """Open it. Raises SourceError that says why it cannot be read."""
        self.name = os.fspath(path)
        place = os.path.realpath(self.name)
        if not os.path.isfile(place):  # noqa: PTH113 - HDF5 would wait for a named pipe
            raise SourceError(f"{self.name}: {'not a file' if os.path.exists(place) else 'no such file'}")  # noqa: PTH110
        self.bounds = Bounds(self.name, None if allow_outside else os.path.dirname(place))  # noqa: PTH120 - as text
        self.file = open_hdf5(place, self.name)
        try:
            self.facts = read_facts(self.file, self.name)
            self.data = self._data_sets()
            labels = self.data.get("label")
            self.classes = tuple(class_names(self.name, self.file if labels is None else labels, self.file) or ())
        except BaseException:
            self.file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    @property
    def samples(self) -> int:
        """Number of samples; in a file of another program, rows of the largest data set."""
        known = self.facts.plan.schema[0].name if self.facts.plan else ""
        data = self.data.get(known) or max(self.data.values(), key=lambda each: each.size or 0)
        return len(data) if data.shape else 0

    def describe(self) -> dict[str, Any]:
        """Return all facts as values for JSON. Raises SourceError for parts that are missing or damaged."""
        facts = self.facts
        told = [self._field(name, data) for name, data in self.data.items()]
        own = Path(opened_path(self.file.id.get_vfd_handle()))
        parts = dict.fromkeys(part for field in told for part in field.pop("parts") if part != str(own))
        return {
            "file": self.name,
            "bytes": sum(Path(part).stat().st_size for part in {str(own), *parts}),
            "parts": [os.path.relpath(part, own.parent) for part in parts],
            "format": facts.format,
            "penstock_version": facts.version,
            "stream": facts.stream,
            "samples": self.samples,
            "progress": self._progress(),
            "epochs": facts.epochs,
            "seed": facts.seed,
            "fingerprint": facts.fingerprint,
            "classes": self._classes(),
            "samples_by_epoch": {str(key): count for key, count in self._counts("epoch").items()},
            "samples_by_manipulation": self._manipulations(),
            "fields": told,
            "quarantined": self._quarantined(),
            "spec": _spec(facts),
        }

    def _data_sets(self) -> dict[str, h5py.Dataset]:
        found = data_sets(self.file, self.name)
        schema = [field.name for field in self.facts.plan.schema] if self.facts.plan else []
        order = sorted(found, key=lambda name: schema.index(name) if name in schema else len(schema))
        if not found:
            raise SourceError(f"{self.name}: no data set at its root; it holds: {names_of(self.file)}")
        return {name: data for name in order if (data := find(self.file, name, self.bounds)) is not None}

    def _field(self, name: str, data: h5py.Dataset) -> dict[str, Any]:
        stored = chunk = 0
        packed, parts = "none", []
        for rows in stored_rows(data, self.bounds):
            stored += rows.data.id.get_storage_size()
            chunk, packed = (rows.data.chunks[0] if rows.data.chunks else 0), compression(rows.data)
            parts.append(opened_path(rows.data.file.id.get_vfd_handle()))
        text = h5py.check_string_dtype(data.dtype) is not None
        size = 0 if text else int(data.size or 0) * data.dtype.itemsize
        return {
            "name": name,
            "dtype": "text" if text else data.dtype.name,
            "rows": len(data) if data.shape else None,
            "shape": list(data.shape[1:]),
            "chunk_rows": chunk or None,
            "compression": packed,
            "bytes": size or None,
            "stored_bytes": stored,
            "ratio": round(size / stored, 3) if size and stored else None,
            "parts": parts,
        }

    def _progress(self) -> dict[str, Any]:
        """Return the writer's progress, in positions of the stream (quarantined samples included)."""
        facts, done = self.facts, (self.facts.stop or 0) - (self.facts.start or 0)
        wanted = facts.plan.geometry.samples_per_epoch * facts.epochs if facts.plan and facts.epochs else None
        return {"complete": facts.complete, "positions": done if facts.format else None, "of": wanted}

    def _classes(self) -> dict[str, int]:
        counts = self._counts("label")
        known = {name: counts.pop(index, 0) for index, name in enumerate(self.classes)}
        return known | {"no label" if key < 0 else str(key): count for key, count in counts.items()}

    def _manipulations(self) -> dict[str, int]:
        plan = self.facts.plan
        chosen = plan.settings.transform.manipulations if plan else None
        names = dict(enumerate(chosen.names)) if chosen else {}
        return {names.get(key, str(key)): count for key, count in self._counts("manipulation").items()}

    def _counts(self, name: str) -> dict[int, int]:
        """Return how often each number occurs in a field; empty unless the field has one whole number a row."""
        data = self.data.get(name)
        if data is None or data.dtype.kind not in "ui" or len(data.shape) != 1:
            return {}
        counts: dict[int, int] = {}
        for values in self._blocks(data):
            for key, count in zip(*(each.tolist() for each in np.unique(values, return_counts=True)), strict=True):
                counts[key] = counts.get(key, 0) + count
            if len(counts) > _MOST_COUNTED:
                return {}
        return dict(sorted(counts.items()))

    def _blocks(self, data: h5py.Dataset) -> Iterator[Any]:
        """Yield a data set's rows. Raises SourceError if they cannot be read."""
        parts = PartFiles(self.bounds.top)
        rows = read_rows(data, self.bounds, data.dtype, Access(parts))
        for start in range(0, len(data), _BLOCK_ROWS):
            wanted = np.arange(start, min(start + _BLOCK_ROWS, len(data)), dtype=np.int64)
            block = np.empty(len(wanted), data.dtype)
            rows.scatter(wanted, wanted - start, block)
            yield block
        parts.close()

    def _quarantined(self) -> list[dict[str, Any]]:
        """Return the items that yielded no samples."""
        group: Any = self.file.get("quarantine")
        if not isinstance(group, h5py.Group):
            return []
        columns: dict[str, list[Any]] = {}
        for name in hard_links(group):
            data: Any = locate(self.file, f"quarantine/{name}", self.bounds)
            if data is not None and not data.is_virtual and len(data.shape) == 1:
                values = data[:].tolist()
                columns[name] = [each.decode(errors="replace") if isinstance(each, bytes) else each for each in values]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def compression(data: h5py.Dataset) -> str:
    """Return how a data set is packed, such as `gzip:4`, its preparing filters after a plus."""
    creation = data.id.get_create_plist()
    packed, prepared = "none", ""
    for index in range(creation.get_nfilters()):
        code, _, values, label = creation.get_filter(index)
        if code in _PREPARING:
            prepared += f"+{_PREPARING[code]}"
            continue
        level = f":{values[0]}" if code in (1, 32015) and values else ""
        packed = _FILTERS.get(code, f"filter {code} {label.decode(errors='replace')}".strip()) + level
    check_filters(data, data.name or "")
    return packed + prepared


def _spec(facts: Facts) -> Any:  # noqa: ANN401 - of another version it may be anything
    """Return the stream's spec, what is at its default left out."""
    if facts.plan is not None:
        return facts.plan.settings.model_dump(mode="json", exclude_defaults=True)
    try:
        return json.loads(facts.spec) if facts.spec else None
    except ValueError:
        return facts.spec
