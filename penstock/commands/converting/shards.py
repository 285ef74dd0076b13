"""Writes one shard: a tar file with WebDataset's names, or a Parquet file as the Hugging Face hub stores images.

A shard is written under another name, synced and renamed, so a file with the shard's name is whole, whenever the
program is killed. The same images give the same bytes.
"""

import importlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.commands.converting.images import ImageFile
from penstock.protocol.errors import SpecError

#: Rows of a row group, at most, and bytes of its images after which it ends: workers read whole groups, and the
#: writer holds one.
_GROUP_ROWS, _GROUP_BYTES = 100, 64_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with what goes with it."""

    #: Number of the item in its source; it becomes the key.
    item: int
    image: ImageFile
    #: Class index; -1 without one.
    label: int
    #: Where the image came from.
    path: str


#: Writes samples into an open file, with the names of the classes.
Write = Callable[[Any, Iterable[Sample], Sequence[str]], None]


def write_shard(place: Path, samples: Iterable[Sample], classes: Sequence[str], write: Write) -> None:
    """Write a shard that is whole once it has its name. Raises OSError, and what iterating the samples raises."""
    part = place.with_name(f".{place.name}.part")
    try:
        with part.open("wb") as opened:
            write(opened, samples, classes)
            opened.flush()
            os.fsync(opened.fileno())
        part.rename(place)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_tar(opened: Any, samples: Iterable[Sample], classes: Sequence[str]) -> None:  # noqa: ANN401 - a binary file
    """Write a tar file: `KEY.jpg` is the image, `KEY.cls` the class index, `KEY.json` the class's name and the path."""
    with tarfile.open(fileobj=opened, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            key = f"{sample.item:09d}"
            facts: dict[str, object] = {"path": sample.path}
            members = [(f"{key}.{sample.image.suffix}", sample.image.content)]
            if classes:
                facts = {"label": classes[sample.label], **facts}
                members.append((f"{key}.cls", str(sample.label).encode()))
            members.append((f"{key}.json", json.dumps(facts, ensure_ascii=False).encode()))
            for name, content in members:
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o644
                tar.addfile(member, io.BytesIO(content))


def write_parquet(opened: Any, samples: Iterable[Sample], classes: Sequence[str]) -> None:  # noqa: ANN401 - as above
    """Write a Parquet file: `image`, a struct of bytes and path, and `label`, whose names stand in the metadata."""
    pa = import_pyarrow()
    features: dict[str, object] = {"image": {"_type": "Image"}}
    columns = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    if classes:
        features["label"] = {"names": list(classes), "_type": "ClassLabel"}
        columns.append(("label", pa.int64()))
    told = json.dumps({"info": {"features": features}})
    schema = pa.schema(columns, metadata={"huggingface": told})
    # Images are compressed already; a dictionary of them would only cost.
    with pa.parquet.ParquetWriter(opened, schema, compression="NONE", use_dictionary=False) as writer:
        for group in _groups(samples):
            rows: dict[str, list[Any]] = {"image": [{"bytes": each.image.content, "path": each.path} for each in group]}
            if classes:
                rows["label"] = [each.label for each in group]
            writer.write_table(pa.table(rows, schema=schema), row_group_size=_GROUP_ROWS)


def _groups(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Yield the samples of each row group."""
    group, size = list[Sample](), 0
    for sample in samples:
        group.append(sample)
        size += len(sample.image.content)
        if len(group) == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def import_pyarrow() -> Any:  # noqa: ANN401 - untyped
    """Return pyarrow. Raises SpecError if it is missing."""
    try:
        importlib.import_module("pyarrow.parquet")  # an extra, and slow to import
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise SpecError("--to parquet needs pyarrow: pip install 'penstock[parquet]', or give --to tar") from error
