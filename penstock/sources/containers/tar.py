"""The kind "tar": shards as WebDataset writes them, plain tar files whose members are read where they lie.

The ventilator walks each shard once, and a task says at which offset an image lies. The order is that of the shards as
`path` names them, and in a shard that of its members.
"""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from penstock.sources.base import Roots, SourceKind
from penstock.sources.containers.shards import ShardSource, list_shards, open_shards
from penstock.sources.containers.tar_shard import Members, read_shard
from penstock.sources.span_listing import SpanListing


class TarSource(ShardSource):
    """Tar shards with WebDataset's names: `000123.jpg` and `000123.cls` are the image and the label of one item."""

    kind: Literal["tar"]
    """Says that these are tar shards."""
    image: str = ""
    """Which member of an item is the image, by what follows the first dot of its name, as in `left.png`; default: the
    only one with the suffix of an image, such as `jpg`."""
    label: str = "cls"
    """Which member is the label, named in the same way: text, or JSON if the name ends in `json`. Empty: no labels."""
    label_field: str = ""
    """Field of a JSON label that holds the class name or number; default: the whole member is the label."""

    @field_validator("image", "label")
    @classmethod
    def _plain(cls, value: str) -> str:
        return value.removeprefix(".").lower()

    @model_validator(mode="after")
    def _labels_agree(self) -> Self:
        if self.label_field and not self.label.endswith("json"):
            raise ValueError(f"label_field = {self.label_field!r} needs a JSON label, such as label = 'json'")
        return self

    @property
    def members(self) -> Members:
        """Which members of an item to use."""
        return Members(self.image, self.label, self.label_field)


def list_tar(source: TarSource, roots: Roots) -> SpanListing:
    """Return the items of all shards. Raises SourceError."""
    return list_shards(source, roots, lambda opened, name: read_shard(opened, name, source.members))


KIND = SourceKind(TarSource, list_tar, open_shards, splits=True, follows_links=True)
