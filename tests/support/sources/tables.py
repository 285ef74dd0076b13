"""Writes Parquet and Arrow files with images in them, as `datasets` lays them out."""

import json
from pathlib import Path
from typing import Any

import pytest


def hub_table(images: list[bytes | None], labels: list[Any], names: list[str] | None = None) -> Any:
    """Return a table whose images are structs of bytes and path; with names, the labels are a ClassLabel."""
    pa = pytest.importorskip("pyarrow")
    features: dict[str, object] = {"image": {"_type": "Image"}}
    if names is not None:
        features["label"] = {"names": names, "_type": "ClassLabel"}
    facts = json.dumps({"info": {"features": features}}).encode()
    table = pa.table({"image": [{"bytes": image, "path": "x.jpg"} for image in images], "label": labels})
    return table.replace_schema_metadata({b"huggingface": facts})


def write_parquet(path: Path, table: Any, rows: int = 2, **options: Any) -> None:
    """Write a Parquet file with so many rows a group."""
    pytest.importorskip("pyarrow.parquet").write_table(table, path, row_group_size=rows, **options)


def write_arrow(path: Path, table: Any, rows: int = 2, **options: Any) -> None:
    """Write a stream of record batches, as `save_to_disk` does."""
    pa = pytest.importorskip("pyarrow")
    with pa.ipc.new_stream(path, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=rows)
