"""Writes MDS shards by hand; `make test-formats` reads those of MosaicML's own writer."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

#: Bytes of the encodings that have a fixed size.
SIZES = {"int": 8, "uint8": 1, "float32": 4}


def write_mds(path: Path, columns: Mapping[str, str], samples: list[list[bytes]]) -> None:
    """Write a shard of columns (name and encoding, sorted by name) and the encoded values of each sample."""
    sizes = [SIZES.get(encoding) for encoding in columns.values()]
    facts = {
        "column_encodings": list(columns.values()),
        "column_names": list(columns),
        "column_sizes": sizes,
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": 67108864,
        "version": 2,
    }
    config = json.dumps(facts, sort_keys=True).encode()
    encoded = []
    for values in samples:
        lengths = [len(value) for value, size in zip(values, sizes, strict=True) if size is None]
        encoded.append(np.array(lengths, "<u4").tobytes() + b"".join(values))
    begin = 4 * (len(samples) + 2) + len(config)
    bounds = np.cumsum([begin, *map(len, encoded)]).astype("<u4")
    path.write_bytes(np.uint32(len(samples)).tobytes() + bounds.tobytes() + config + b"".join(encoded))
