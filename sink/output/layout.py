"""The layout of a stream's HDF5 file, format 1: fields, chunks, attributes. Pure functions.

Readers of these files rely
on it: `docs/hdf5.md` describes it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.protocol.errors import OutputError
from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.version import __version__

#: Version of the layout; a change of the layout needs another number.
FORMAT = 1
#: HDF5 1.10 and newer read all that is written; virtual data sets need that, and attributes of more than 64 KB.
LIBVER = ("v110", "v110")
#: Bytes of a chunk at most: what is read for one sample. Rows in it are a power of two, so that chunks of fields nest.
_CHUNK_BYTES = 262_144
#: Fields of samples from this size on (bytes) are chunked for random reads, and their chunks copied as they lie.
_LARGE_BYTES = 1024
#: Rows of a chunk of a small field.
_SMALL_ROWS = 8192
#: What `compression` may say.
COMPRESSION = r"^(none|lzf|gzip(:[1-9])?|zstd(:(1?[0-9]|2[0-2]))?|blosc2(:[0-9])?)$"

#: Names in a file that no field may have.
RESERVED = ("epoch", "paths", "quarantine")
EPOCH = FieldSchema(name="epoch", dtype="int32", shape=())


@dataclass(frozen=True, slots=True)
class Column:
    """One data set: its first axis is the samples."""

    field: FieldSchema
    #: Rows of a chunk.
    chunk_rows: int
    #: Whether chunks are written and copied as they lie.
    large: bool

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.field.name

    @classmethod
    def of(cls, field: FieldSchema) -> "Column":
        """Return how a field is stored."""
        if field.sample_bytes < _LARGE_BYTES:
            return cls(field, _SMALL_ROWS, large=False)
        return cls(field, 1 << max(0, (_CHUNK_BYTES // field.sample_bytes).bit_length() - 1), large=True)


@dataclass(frozen=True, slots=True)
class Layout:
    """All data sets of a stream's file."""

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, plan: StreamPlan) -> "Layout":
        """Return the layout of a stream: its schema, and the epoch of each sample. Raises OutputError."""
        if taken := [field.name for field in plan.schema if field.name in RESERVED]:
            raise OutputError(
                f"stream {plan.name!r} has a field {taken[0]!r}, and a file has something else under that name: let "
                "the custom transform call it otherwise"
            )
        for name in plan.classes:
            if text(name) != name:
                raise OutputError(
                    f"stream {plan.name!r} has a class {name!r}, a name that HDF5 cannot hold: rename its folder, or "
                    "give other names as source.classes"
                )
        return cls(tuple(Column.of(field) for field in (*plan.schema, EPOCH)))

    @property
    def unit(self) -> int:
        """Rows that every piece is a multiple of: whole chunks of every large field."""
        return max((column.chunk_rows for column in self.columns if column.large), default=1)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample, uncompressed."""
        return sum(column.field.sample_bytes for column in self.columns)


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """The writer's options, without a stream's plan."""

    output: str
    stream: str
    epochs: int
    compression: str
    #: Samples of a file; none: all in one.
    shard_size: int | None

    def shard_rows(self, layout: Layout) -> int | None:
        """Return the rows of a file, whole chunks; none: all in one."""
        return None if self.shard_size is None else -(-self.shard_size // layout.unit) * layout.unit

    def recipe(self, plan: StreamPlan) -> dict[str, Any]:
        """Return the settings that a run must share with the run that it continues."""
        return {
            "format": FORMAT,
            "stream": plan.name,
            "fingerprint": plan.fingerprint,
            "epochs": self.epochs,
            "compression": self.compression,
            "shard_rows": self.shard_rows(Layout.of(plan)),
        }


def text(value: str) -> str:
    r"""Return text as HDF5 can hold it: NUL, and bytes that are no UTF-8, are written as `\x00` and the like."""
    return value.replace("\0", "\\x00").encode(errors="backslashreplace").decode()


def filters(compression: str, item_bytes: int) -> Mapping[str, Any]:
    """Return what h5py's `create_dataset` takes for a compression. Imports hdf5plugin if that is needed."""
    shuffle = item_bytes > 1  # bytes of the same weight stand together: they compress far better
    matched = re.fullmatch(r"(\w+?)(?::(\d+))?", compression)
    assert matched is not None  # noqa: S101 - the settings have checked it by COMPRESSION
    name, level = matched[1], int(matched[2]) if matched[2] else None
    match name:
        case "none":
            return {}
        case "lzf":
            return {"compression": "lzf", "shuffle": shuffle}
        case "gzip":
            return {"compression": "gzip", "compression_opts": 4 if level is None else level, "shuffle": shuffle}
        case _:
            pass
    import hdf5plugin  # noqa: PLC0415 - heavy, and only for these two

    if name == "zstd":
        return {**hdf5plugin.Zstd(clevel=3 if level is None else level)}
    return {**hdf5plugin.Blosc2(cname="zstd", clevel=5 if level is None else level)}


def attributes(plan: StreamPlan, config: OutputConfig, stop: int, *, complete: bool) -> dict[str, Any]:
    """Return the attributes of the file's root, without the versions of h5py and HDF5."""
    return {
        "penstock_format": FORMAT,
        "penstock_version": __version__,
        "stream": plan.name,
        "spec": json.dumps(plan.model_dump(mode="json")),  # views and targets keep their order
        "seed": plan.seed,
        "fingerprint": plan.fingerprint,
        "classes": list(plan.classes),
        "complete": complete,
        "epochs": config.epochs,
        "compression": config.compression,
        "start": 0,
        "stop": stop,
    }
