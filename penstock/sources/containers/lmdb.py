"""The kind "lmdb": an LMDB data base with the bytes of image files as values, read where they lie.

Keys are as a pattern says: `image-{}` and `label-{}` are the image and the label of one item. The order is that of the
images' keys by their bytes, as LMDB has it.
"""

from typing import Annotated, BinaryIO, Literal, Self

from pydantic import Field, field_validator, model_validator

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.labels import class_name
from penstock.sources.base import Roots, SourceKind
from penstock.sources.containers.lmdb_pages import Value, values
from penstock.sources.containers.shard_index import ShardIndex
from penstock.sources.containers.shards import ShardSource, list_shards, open_shards
from penstock.sources.span_listing import SpanListing

#: Stands for an item's own part of a key.
_OWN = "{}"
#: Most bytes of a label.
_LABEL_BYTES = 1_048_576


class LmdbSource(ShardSource):
    """LMDB data bases with an image file in each value."""

    kind: Literal["lmdb"]
    """Says that these are LMDB data bases."""
    path: str
    """The data base's file below the root, as in `train.lmdb/data.mdb`; braces and wildcards name several."""
    image: Annotated[str, Field(min_length=1)] = _OWN
    """Keys of images: `{}` stands for what is an item's own, as in `image-{}`. Default: every key is one."""
    label: str = ""
    """Keys of labels, as in `label-{}`: class names or numbers as text. Empty: no labels."""

    @field_validator("image", "label")
    @classmethod
    def _has_one_place(cls, value: str) -> str:
        if value and value.count(_OWN) != 1:
            raise ValueError(
                f"{value!r}: must hold {{}} once, which stands for what is an item's own, as in 'image-{{}}'"
            )
        return value

    @model_validator(mode="after")
    def _patterns_differ(self) -> Self:
        if self.image == self.label:
            raise ValueError(f"image and label are both {self.image!r}: a key is either an image or a label")
        return self


def _own_part(pattern: str, key: bytes) -> bytes | None:
    """Return what stands in a key for `{}`; None if the key is not of this pattern."""
    before, _, after = pattern.encode().partition(_OWN.encode())
    if not pattern or len(key) < len(before) + len(after) or not (key.startswith(before) and key.endswith(after)):
        return None
    return key[len(before) : len(key) - len(after)]


def read_lmdb(opened: BinaryIO, name: str, source: LmdbSource) -> ShardIndex:
    """Return the items of a data base. Raises SourceError."""
    images: dict[bytes, Value] = {}
    labels: dict[bytes, Value] = {}
    index = ShardIndex()
    for value in values(opened, name):
        # A label first: where every key is an image, those of labels are none.
        if (own := _own_part(source.label, value.key)) is not None:
            labels[own] = value
        elif (own := _own_part(source.image, value.key)) is not None:
            images[own] = value
        else:
            index.passed_over["other keys"] += 1
    for own, value in images.items():
        where = f"{name}: key {_text(value.key)!r}"
        if not value.length:
            raise SourceError(f"{where}: its image has no bytes: write the data base anew without it")
        index.keys.append(_text(own))
        index.offsets.append(value.offset)
        index.lengths.append(value.length)
        if source.label:
            index.labels.append(_class(opened, labels.pop(own, None), where, source.label))
    if labels:
        raise SourceError(f"{name}: key {_text(next(iter(labels.values())).key)!r} is a label without an image")
    return index


def _class(opened: BinaryIO, value: Value | None, where: str, pattern: str) -> str:
    if value is None:
        raise SourceError(f"{where} has no label of pattern {pattern!r} (source.label); label = '' reads no labels")
    where = f"{where}: label {_text(value.key)!r}"
    if value.length > _LABEL_BYTES:
        raise SourceError(f"{where} has {value.length} bytes: a label has {_LABEL_BYTES} at most")
    opened.seek(value.offset)
    try:
        return class_name(opened.read(value.length).decode().strip(), where)
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: not text in UTF-8: {error}") from error


def _text(key: bytes) -> str:
    return key.decode(errors="backslashreplace")


def list_lmdb(source: LmdbSource, roots: Roots) -> SpanListing:
    """Return the items of all data bases. Raises SourceError."""
    return list_shards(source, roots, lambda opened, name: read_lmdb(opened, name, source))


KIND = SourceKind(LmdbSource, list_lmdb, open_shards, splits=True, follows_links=True)
