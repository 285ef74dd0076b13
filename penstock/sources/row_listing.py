"""The items of a source whose images are rows of an array. `protocol/storage/rows.py` opens the arrays.

The digest is over the pixels, read in blocks, never all at once: of up to a GB every byte (about 1 s), of more that
much in evenly spread runs, so that listing a terabyte takes as long. Two files with equal arrays have equal digests.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from penstock.protocol.errors import SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.array_types import Int32s
from penstock.protocol.storage.rows import SourceRows, row_name, to_levels
from penstock.sources.base import ImageSize, Listing, count_classes

#: Most bytes of images that are digested.
_DIGESTED_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RowListing(Listing):
    """The items of a source of rows. `digest` names the content: equal digests, equal arrays."""

    classes: tuple[str, ...]
    #: Class index of each item; -1 without labels.
    labels: Int32s
    digest: str
    #: Digest that workers compare with their copy.
    copy_digest: str
    #: How messages name the array, and the row of each item (None: the item's own number).
    name: str
    chosen: Int64s | None
    image_size: ImageSize | None
    #: Workers compute rows from the plan.
    carries_items: bool = False

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.labels)

    @property
    def held_bytes(self) -> int:
        """Memory that the listing takes."""
        return self.labels.nbytes + (0 if self.chosen is None else self.chosen.nbytes)

    def path(self, index: int) -> str:
        """Return how messages name an item: the array and its row."""
        return row_name(self.name, self.chosen, index)

    def label(self, index: int) -> int:
        """Return an item's class index; -1 without labels."""
        return int(self.labels[index])

    def counts(self) -> dict[str, int]:
        """Return how many items each class has."""
        return count_classes(self.classes, self.labels)


def list_rows(rows: SourceRows) -> RowListing:
    """Return the items of opened arrays. Raises SourceError."""
    height, width, channels = rows.image_shape
    return RowListing(
        classes=rows.classes,
        labels=rows.labels,
        digest=_digest(rows),
        copy_digest=rows.copy_digest(),
        name=rows.images.name,
        chosen=rows.chosen,
        image_size=ImageSize(
            height * width * channels * rows.images.dtype.itemsize, height * width, rows.images.working_bytes
        ),
    )


def _digest(rows: SourceRows) -> str:
    """Digest the images and labels; raise SourceError for an image whose numbers are no levels."""
    header = [1, rows.kind, list(rows.classes), len(rows), list(rows.image_shape), list(rows.images.shape[:1])]
    result = hashlib.sha256(json.dumps(header, separators=(",", ":")).encode())
    result.update(rows.labels.astype("<i4", copy=False).data)
    if rows.chosen is not None:
        result.update(rows.chosen.astype("<i8", copy=False).data)
    for start, block in rows.blocks(_DIGESTED_BYTES):
        levels, wrong = to_levels(block)
        if wrong is not None:
            row = int(wrong.argmax())
            low, high = block[row].min(), block[row].max()
            raise SourceError(
                f"{rows.images.name}[{start + row}]: {block.dtype} from {low} to {high}: images must hold whole "
                "numbers from 0 to 255; save them as uint8, and let transform.normalize scale them"
            )
        result.update(np.ascontiguousarray(levels).data)
    return result.hexdigest()
