"""Writes a folder of images as MDS shards: `write_mds.py FOLDER OUT`, by the Python of build/formats-mosaicml."""

import json
import sys
from pathlib import Path

from streaming import MDSWriter  # pyright: ignore[reportMissingImports]


def main(folder: Path, out: Path) -> None:
    """Write shards of about 20 kB."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    with MDSWriter(
        out=str(out), columns={"image": "bytes", "label": "str", "width": "int"}, size_limit=20_000
    ) as writer:
        for file, label in zip(sorted(folder.glob("*.jpg")), labels, strict=True):
            writer.write({"image": file.read_bytes(), "label": label, "width": 64})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
