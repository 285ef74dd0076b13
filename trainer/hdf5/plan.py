"""The plan of a file: facts that a feed knows before it reads samples; the counterpart of a stream's plan."""

from dataclasses import dataclass

from penstock.protocol.plan import FieldSchema
from penstock.trainer.hdf5.order import Rounds, RowOrder


@dataclass(frozen=True, slots=True)
class Batching:
    """How samples are cut into batches."""

    batch_size: int
    drop_remainder: bool


@dataclass(frozen=True, slots=True)
class FilePlan:
    """Facts about a file: its samples and their order."""

    #: The stream that was written; `hdf5` for files of others.
    name: str
    #: Class names in label order.
    classes: tuple[str, ...]
    #: The fields of a sample.
    schema: tuple[FieldSchema, ...]
    settings: Batching
    order: RowOrder
    #: Digest of the file, a hyphen, and a digest of all that determines the samples and their order.
    fingerprint: str

    def batches_per_epoch(self, world_size: int = 1) -> int:
        """Return how many batches each of `world_size` trainers gets of a whole epoch (of the longest one)."""
        cut = self.settings
        return len(Rounds(max(self.order.sizes), cut.batch_size, 0, world_size, cut.drop_remainder))

    def epoch_of(self, position: int) -> int:
        """Return the epoch that a position is in."""
        return self.order.epoch_of(position)

    def epoch_span(self, epoch: int) -> tuple[int, int]:
        """Return the positions [start, stop) of an epoch."""
        return self.order.epoch_span(epoch)
